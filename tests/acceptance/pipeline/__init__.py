"""The executor of deploy/ci on rootless podman, with jobs of strangers who mean harm."""
