"""Files of inputs to the API's storage: read and hashed once, uploaded once for each distinct content."""
