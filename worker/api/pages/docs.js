// Shows openapi.json: each route with its fields, and a form that sends a request. Text is added as text, never as markup.

/** Return an element with properties and children. */
function build(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** Return the type of a schema in words. */
function describeType(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(describeType).join(" or ");
  if (schema.enum) return schema.enum.join(", ");
  if (schema.const) return JSON.stringify(schema.const);
  if (schema.type === "array") return `array of ${describeType(schema.items ?? {})}`;
  return schema.type ?? "any";
}

/** Return a table with the fields of an object of the document. */
function buildFields(name, schemas) {
  const schema = schemas[name];
  const rows = Object.entries(schema.properties ?? {}).map(([field, own]) =>
    build("tr", {}, build("td", { textContent: field }), build("td", { textContent: describeType(own) }),
      build("td", { textContent: (schema.required ?? []).includes(field) ? "required" : "" }),
      build("td", { textContent: own.description ?? "" })));
  return build("section", {}, build("h3", { textContent: name }), build("table", {}, build("tbody", {}, ...rows)));
}

/** Return the names of the objects that a schema refers to, directly or by another object. */
function findNames(schema, schemas, found = new Set()) {
  for (const [key, value] of Object.entries(schema ?? {})) {
    if (key === "$ref" && !found.has(value.split("/").pop())) {
      const name = value.split("/").pop();
      found.add(name);
      findNames(schemas[name], schemas, found);
    } else if (value && typeof value === "object") findNames(value, schemas, found);
  }
  return found;
}

/** Send a request and show its status, the model that answered and the body. */
async function send(method, path, body, output) {
  const token = document.getElementById("token").value;
  const headers = { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
  try {
    const response = await fetch(`.${path}`, { method, headers, body });
    const text = await response.text();
    const model = response.headers.get("gist-model");
    output.textContent = `${response.status}${model ? `  ${model}` : ""}\n${text.slice(0, 20000)}`;
  } catch (error) {
    output.textContent = String(error);
  }
}

function buildForm(method, path, example) {
  const output = build("pre", { hidden: true, tabIndex: 0 });
  const input = build("textarea", { value: example ? JSON.stringify(example, null, 2) : "", hidden: !example });
  input.setAttribute("aria-label", `Body of ${path}`);
  const button = build("button", { textContent: "Send", type: "button" });
  button.addEventListener("click", () => {
    output.hidden = false;
    send(method, path, example ? input.value : undefined, output);
  });
  return build("section", {}, build("h3", { textContent: "Try it" }), input, build("p", {}, button), output);
}

function buildRoute(path, method, operation, schemas) {
  const request = operation.requestBody?.content["application/json"];
  const answer = operation.responses["200"].content["application/json"].schema;
  const names = [...findNames(request?.schema, schemas), ...findNames(answer, schemas)];
  const title = build("summary", {}, build("span", { className: "method", textContent: method.toUpperCase() }),
    build("h2", { textContent: path }), ` ${operation.summary}`);
  const statuses = Object.keys(operation.responses).join(", ");
  return build("details", {}, title, buildForm(method.toUpperCase(), path, request?.example),
    build("p", { textContent: `Answer: ${describeType(answer)}. Statuses: ${statuses}.` }),
    ...names.map((name) => buildFields(name, schemas)));
}

const main = document.getElementById("routes");
try {
  const api = await (await fetch("openapi.json")).json();
  document.getElementById("about").prepend(`${api.info.description} Version ${api.info.version}. `);
  main.replaceChildren(...Object.entries(api.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => buildRoute(path, method, operation, api.components.schemas))));
} catch (error) {
  main.textContent = `openapi.json cannot be shown: ${error}`;
}
