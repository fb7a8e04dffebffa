"""Make the build context of the replacement image for Kafka: the verified jars and the Java runtime of the embedded Kafka.

python deploy/docker/kafka/context.py FOLDER
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from worker.testbed.embedded_kafka import runtime


def main(folder: Path) -> None:
    """Copy the files of the image into a folder."""
    java, jars = runtime()
    shutil.copytree(Path(__file__).parent, folder, dirs_exist_ok=True)
    (folder / "libs").mkdir()
    for jar in jars:
        shutil.copy(jar, folder / "libs" / jar.name)
    shutil.copytree(java.resolve().parents[1], folder / "jre", symlinks=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
