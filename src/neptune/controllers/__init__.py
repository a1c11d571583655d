"""The cloud side: desired state of Datasets goes down to nodes, their status comes up to Kubernetes."""
