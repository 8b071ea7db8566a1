"""What is judged, what is decided, and how: no I/O, no framework, no torch, no HTTP client."""
