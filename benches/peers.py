"""The proxies that are compared, each doing nothing but forwarding, and how each is told to."""

import os
import shutil

from processes import free_port

CLIENT_ID = "BENCH"
UPSTREAM_CONNECTIONS = 128

SIDECAR, NGINX = "sidecar", "nginx"
HAPROXY, HAPROXY_TCP, CADDY = "HAProxy, http mode", "HAProxy, tcp mode", "Caddy"
# The sidecar's data plane with everything else off.
BARE = "bare"
PEERS = [SIDECAR, NGINX, HAPROXY, HAPROXY_TCP, CADDY]
PAIR = [SIDECAR, NGINX]

NGINX_CONFIG = """
daemon off; pid {folder}/{name}.pid; error_log {folder}/{name}.log; worker_processes {workers};
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; client_body_buffer_size 32k;
  client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy;
  fastcgi_temp_path {folder}/{name}-f; uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s;
  {http}
}}
"""

UPSTREAM_SERVER = """
  default_type application/json; root {folder}/www; sendfile on; tcp_nodelay on; open_file_cache max=16;
  server {{
    listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl;
    ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
    location = /1k.json {{ return 200 "{small}"; }}
    location ~ /listUsers$ {{ return 200 "[]"; }}
    location = /post {{ return 200 "{{}}"; }}
  }}
"""

NGINX_PROXY = """
  upstream snaptrade {{ server 127.0.0.1:{upstream}; keepalive {connections}; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} {reuseport};
    location / {{
      proxy_pass {scheme}://snaptrade; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host localhost; proxy_ssl_trusted_certificate {folder}/ca.pem; proxy_ssl_verify on;
      proxy_ssl_name localhost; proxy_ssl_server_name on;
    }}
  }}
"""

HAPROXY_CONFIG = """
global
  nbthread {workers}
  maxconn 8000
defaults
  mode {mode}
  timeout connect 5s
  timeout client 600s
  timeout server 600s
frontend in
  bind 127.0.0.1:{port}
  default_backend out
backend out
  {reuse}
  server s 127.0.0.1:{upstream} {tls}
"""

CADDY_CONFIG = """
{{
  admin off
  auto_https off
  log {{
    output discard
  }}
}}
http://:{port} {{
  bind 127.0.0.1
  reverse_proxy {scheme}://localhost:{upstream} {{
    transport http {{
      keepalive_idle_conns_per_host {connections}
      {tls}
    }}
  }}
}}
"""


def start_upstream(rig, plain, tls):
    """An nginx that answers for SnapTrade on two ports."""
    http = UPSTREAM_SERVER.format(folder=rig.folder, plain=plain, tls=tls, small="x" * 1024)
    return _start_nginx(rig, "upstream", http, 1, [rig.cpus[1]])


def start_peer(rig, peer, port, tls, workers):
    """A proxy on `port`: one worker has the first processor to itself, two have both."""
    cpus = rig.cpus[:workers]
    known = {
        "folder": rig.folder,
        "port": port,
        "upstream": rig.port(tls),
        "workers": workers,
        "scheme": "https" if tls else "http",
        "connections": UPSTREAM_CONNECTIONS,
    }
    starts = {
        SIDECAR: lambda: _start_sidecar(rig, known, tls, cpus),
        BARE: lambda: _start_bare(rig, known, tls, cpus),
        NGINX: lambda: _start_nginx_proxy(rig, known, cpus),
        HAPROXY: lambda: _start_haproxy(rig, "http", known, tls, cpus),
        HAPROXY_TCP: lambda: _start_haproxy(rig, "tcp", known, tls, cpus),
        CADDY: lambda: _start_caddy(rig, known, tls, cpus),
    }
    return starts[peer]()


def _start_sidecar(rig, known, tls, cpus):
    command = [rig.binary, "serve", *sidecar_ports(known["port"])]
    return rig.run(SIDECAR, command, cpus, _towards_upstream(rig, known, tls))


def _start_bare(rig, known, tls, cpus):
    command = [rig.bare, "127.0.0.1:{port}".format(**known)]
    return rig.run(BARE, command, cpus, _towards_upstream(rig, known, tls))


def _towards_upstream(rig, known, tls):
    upstream = "{scheme}://localhost:{upstream}".format(**known)
    more = {"SNAPTRADE_SIDECAR__PROXY__UPSTREAM_CA_FILE": str(rig.folder / "ca.pem")} if tls else {}
    return sidecar_environment(CLIENT_ID, upstream, known["workers"], more)


def sidecar_environment(client_id, upstream, workers, more):
    return {
        "SNAPTRADE_CLIENT_ID": client_id,
        "SNAPTRADE_CONSUMER_KEY": "bench-consumer-key",
        "SNAPTRADE_SIDECAR__PROXY__WORKER_THREADS": str(workers),
        "SNAPTRADE_SIDECAR__PROXY__UPSTREAM": upstream,
        **more,
    }


def sidecar_ports(port):
    return ["--listen", f"127.0.0.1:{port}", "--ops-listen", f"127.0.0.1:{free_port()}"]


def _start_nginx(rig, name, http, workers, cpus):
    config = rig.folder / f"{name}.conf"
    config.write_text(NGINX_CONFIG.format(folder=rig.folder, name=name, workers=workers, http=http))
    return rig.run(f"nginx ({name})", [shutil.which("nginx"), "-p", rig.folder, "-c", config], cpus)


def _start_nginx_proxy(rig, known, cpus):
    reuseport = "reuseport" if known["workers"] > 1 else ""
    return _start_nginx(rig, "proxy", NGINX_PROXY.format(reuseport=reuseport, **known), known["workers"], cpus)


def _start_haproxy(rig, mode, known, tls, cpus):
    verified = f"ssl verify required ca-file {rig.folder}/ca.pem sni str(localhost)"
    reuse = "http-reuse always" if mode == "http" else ""
    config = rig.folder / f"haproxy-{mode}.cfg"
    config.write_text(HAPROXY_CONFIG.format(mode=mode, reuse=reuse, tls=verified if tls else "", **known))
    return rig.run(f"HAProxy ({mode})", [shutil.which("haproxy"), "-db", "-f", config], cpus)


def _start_caddy(rig, known, tls, cpus):
    config = rig.folder / "Caddyfile"
    config.write_text(CADDY_CONFIG.format(tls=f"tls_trusted_ca_certs {rig.folder}/ca.pem" if tls else "", **known))
    env = {"HOME": str(rig.folder), "GOMAXPROCS": str(known["workers"]), "PATH": os.environ["PATH"]}
    return rig.run(CADDY, [shutil.which("caddy"), "run", "--config", config, "--adapter", "caddyfile"], cpus, env)
