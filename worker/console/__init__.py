"""The console: one page in the browser that shows a group of workers, their results and their dead letters.

The console is a process of its own. It only reads topics and metrics, so the worker stores no text for it.
"""
