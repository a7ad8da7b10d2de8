"""GitLab's custom executor on rootless podman: config, prepare, run, cleanup. See docs/ci.md.

Everything that a job may choose is untrusted, and that is every CUSTOM_ENV_* variable: a job may set the predefined
ones too. What is believed comes from the job response alone, the file that the runner writes for the executor.
"""
