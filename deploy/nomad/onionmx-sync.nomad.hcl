# One run of sync a day, beside onionmx.nomad.hcl. Parsed by the tests and never run: no Nomad was at hand.
#
# The store's password: nomad var put nomad/jobs/onionmx-sync/sync/sync store_password=...
# With Vault, a block `vault {}` in the task, and in the template
# {{ with secret "secret/data/onionmx" }}{{ .Data.data.store_password }}{{ end }}

variable "version" {
  type        = string
  description = "Tag of the image localhost/onionmx."
}

variable "domains" {
  type        = string
  description = "Local domains, as TOML: [\"example.org\"]."
}

job "onionmx-sync" {
  type = "batch"

  periodic {
    crons            = ["17 4 * * *"]
    prohibit_overlap = true
  }

  group "sync" {
    volume "map" {
      type   = "host"
      source = "onionmx-map"
    }

    # The only task that may change the map, and the only one with the store's password.
    task "sync" {
      driver = "podman"
      user   = "65534:65534"
      config {
        image           = "localhost/onionmx:${var.version}"
        command         = "onionmx"
        args            = ["sync", "--quiet", "--config", "/local/onionmx.toml"]
        readonly_rootfs = true
        cap_drop        = ["ALL"]
        security_opt    = ["no-new-privileges"]
      }
      volume_mount {
        volume      = "map"
        destination = "/var/lib/onionmx"
      }
      template {
        destination = "secrets/store-password"
        perms       = "0400"
        uid         = 65534
        gid         = 65534
        data        = "{{ with nomadVar \"nomad/jobs/onionmx-sync/sync/sync\" }}{{ .store_password }}{{ end }}"
      }
      template {
        destination = "local/onionmx.toml"
        data        = <<-EOT
          [local]
          domains = ${var.domains}
          [sync]
          domains = ["/var/lib/onionmx/domains"]
          store = "valkeys://valkey.service.consul"
          store_password_file = "/secrets/store-password"
        EOT
      }
      resources {
        cpu    = 500
        memory = 512
      }
    }
  }
}
