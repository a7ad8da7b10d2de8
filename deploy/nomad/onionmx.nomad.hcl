# tor, relay and lookups for a mail server on the same Nomad client. Parsed by the tests and never run: no Nomad was at
# hand. See docs/containers.md.
#
# Volumes of the client: host_volume onionmx-tor, onionmx-map, onionmx-relay, onionmx-serve, owned by 65534.

variable "version" {
  type        = string
  description = "Tag of the image localhost/onionmx."
}

variable "domains" {
  type        = string
  description = "Local domains, as TOML: [\"example.org\"]."
}

job "onionmx" {
  type = "service"

  group "onionmx" {
    # One network of its own: what listens on 127.0.0.1 is reached by these tasks alone.
    network {
      mode = "bridge"
      port "lmtp" {
        static       = 10026
        to           = 10026
        host_network = "loopback"
      }
      port "socketmap" {
        static       = 10027
        to           = 10027
        host_network = "loopback"
      }
    }

    volume "tor" {
      type   = "host"
      source = "onionmx-tor"
    }
    volume "map" {
      type   = "host"
      source = "onionmx-map"
    }
    volume "relay" {
      type   = "host"
      source = "onionmx-relay"
    }
    volume "serve" {
      type   = "host"
      source = "onionmx-serve"
    }

    # The only task with the keys of the onion service, which tor itself makes in its volume.
    task "tor" {
      driver = "podman"
      user   = "65534:65534"
      config {
        image           = "localhost/onionmx:${var.version}"
        command         = "tor"
        args            = ["-f", "/local/torrc"]
        readonly_rootfs = true
        cap_drop        = ["ALL"]
        security_opt    = ["no-new-privileges"]
      }
      volume_mount {
        volume      = "tor"
        destination = "/var/lib/tor"
      }
      template {
        destination = "local/torrc"
        data        = <<-EOT
          DataDirectory /var/lib/tor
          SocksPort 127.0.0.1:9050 OnionTrafficOnly ExtendedErrors
          Log notice stdout
        EOT
      }
      kill_timeout = "40s"
      resources {
        cpu    = 500
        memory = 512
      }
    }

    task "relay" {
      driver = "podman"
      user   = "65534:65534"
      config {
        image           = "localhost/onionmx:${var.version}"
        command         = "onionmx"
        args            = ["relay", "--config", "/local/onionmx.toml"]
        readonly_rootfs = true
        cap_drop        = ["ALL"]
        security_opt    = ["no-new-privileges"]
      }
      env {
        STATE_DIRECTORY = "/var/lib/onionmx-relay"
      }
      volume_mount {
        volume      = "map"
        destination = "/var/lib/onionmx"
        read_only   = true
      }
      volume_mount {
        volume      = "relay"
        destination = "/var/lib/onionmx-relay"
      }
      template {
        destination   = "local/onionmx.toml"
        change_mode   = "signal"
        change_signal = "SIGHUP"
        data          = <<-EOT
          [local]
          domains = ${var.domains}
          [tor]
          socks = "localhost:9050"
          user = "65534"
          [relay]
          lmtp_listen = ["0.0.0.0:10026"]
          smtp_listen = []
          clients = ["127.0.0.0/8", "172.26.64.0/20"]
          control = "/var/lib/onionmx-relay/relay.sock"
        EOT
      }
      kill_timeout = "70s"
      resources {
        cpu    = 500
        memory = 512
      }
    }

    task "serve" {
      driver = "podman"
      user   = "65534:65534"
      config {
        image           = "localhost/onionmx:${var.version}"
        command         = "onionmx"
        args            = ["serve", "--config", "/local/onionmx.toml"]
        readonly_rootfs = true
        cap_drop        = ["ALL"]
        security_opt    = ["no-new-privileges"]
      }
      env {
        STATE_DIRECTORY = "/var/lib/onionmx-serve"
      }
      volume_mount {
        volume      = "map"
        destination = "/var/lib/onionmx"
        read_only   = true
      }
      volume_mount {
        volume      = "serve"
        destination = "/var/lib/onionmx-serve"
      }
      template {
        destination   = "local/onionmx.toml"
        change_mode   = "signal"
        change_signal = "SIGHUP"
        data          = <<-EOT
          [local]
          domains = ${var.domains}
          [serve]
          result = "onion:inet:127.0.0.1:10026"
          socketmap_listen = ["0.0.0.0:10027"]
          tcp_table_listen = []
          readsocket_listen = []
          http_listen = []
          control = "/var/lib/onionmx-serve/serve.sock"
          cache_path = "/var/lib/onionmx-serve/cache"
        EOT
      }
      kill_timeout = "35s"
      resources {
        cpu    = 200
        memory = 256
      }
    }
  }
}
