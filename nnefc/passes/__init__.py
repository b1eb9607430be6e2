"""What turns a Graph into the Program that code is generated for. ``pipeline.py`` is the order, on one page."""
