"""The MQTT protocol, as a broker sees it: `packets`, `decode`, `encode`, and `connection`, one client's side of it."""
