# The hub of suite 370: a JupyterHub from PyPI on another machine, with its usual proxy in front and single-user servers that have
# jupyter-sshd-proxy, each a process of that machine's user.
import os
import sys

venv = os.environ["JUPYTERHUB_VENV"]

c = get_config()  # noqa: F821
c.JupyterHub.bind_url = "https://%s:8000" % os.environ["ADDRESS"]
c.JupyterHub.ssl_cert = "/srv/hub/site.pem"
c.JupyterHub.ssl_key = "/srv/hub/site.key"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:8081"
c.ConfigurableHTTPProxy.command = [venv + "/proxy/node_modules/.bin/configurable-http-proxy"]
c.JupyterHub.db_url = "sqlite:////srv/hub/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = "/srv/hub/cookie_secret"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.allow_named_servers = True
c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
# What an image brings: which key may come in by way of the hub.
c.Spawner.environment = {"JUPYTER_SSHD_PROXY_AUTHORIZED_KEYS_PATH": "/etc/ssh/bastion_keys"}
# So that whoever waits has something to see.
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 1}
c.Spawner.start_timeout = 60
c.JupyterHub.services = [
    {"name": "vestibule", "api_token": os.environ["VESTIBULE_TOKEN"]},
    {"name": "blind", "api_token": os.environ["BLIND_TOKEN"]},
    {"name": "tester", "api_token": os.environ["TESTER_TOKEN"], "admin": True},
]
c.JupyterHub.load_roles = [
    {
        "name": "vestibule",
        "scopes": ["list:users", "read:users", "read:servers", "start:servers", "users:activity", "access:servers"],
        "services": ["vestibule"],
    },
    {"name": "blind", "scopes": ["list:users", "read:users", "read:servers"], "services": ["blind"]},
]
