"""containerd's shim for stockade: containerd-shim-stockade-v1."""
