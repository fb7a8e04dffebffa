"""The engine beside what one would otherwise pick, in processes that take turns."""
