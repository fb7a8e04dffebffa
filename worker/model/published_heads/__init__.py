"""The heads of classifiers and taggers as others publish them: read from the published files, and computed with numpy."""
