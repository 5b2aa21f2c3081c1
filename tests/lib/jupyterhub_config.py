# The hub of suite 280, a JupyterHub from PyPI as it is but for its proxy: there is nothing behind it that a browser asks.
# Servers are Docker's containers by DockerSpawner; users of the group "plain" have processes of the host.
import asyncio
import os

from dockerspawner import DockerSpawner
from jupyterhub.proxy import Proxy


class NoProxy(Proxy):
    should_start = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.routes = {}

    async def add_route(self, routespec, target, data):
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec):
        self.routes.pop(routespec, None)

    async def get_all_routes(self):
        return self.routes


class Spawner(DockerSpawner):
    async def start(self):
        if self.user.name.startswith("broken"):
            raise RuntimeError("there is no such image")
        if self.user.name.startswith("quota"):
            # At once, or after the hub has answered already.
            await asyncio.sleep(0 if self.user.name == "quotanow" else 3)
            error = RuntimeError("not for users")
            error.jupyterhub_message = "no more GPU\x1b[31m hours for you this month"
            raise error
        if self.user.name.startswith("endless"):
            await asyncio.sleep(1000)
        self.environment["PROFILE"] = self.user_options.get("profile", "none")
        return await super().start()

    async def progress(self):
        yield {"progress": 10, "message": "pulling \x1b[31mthe image"}
        async for event in super().progress():
            yield event


c = get_config()  # noqa: F821
c.JupyterHub.bind_url = "http://127.0.0.1:8000"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:8081"
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.db_url = "sqlite:////run/box/hub/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = "/run/box/hub/cookie_secret"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.enable_auth_state = True
c.Authenticator.allow_all = True
c.JupyterHub.cleanup_servers = False
c.JupyterHub.allow_named_servers = True
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 1}
c.JupyterHub.spawner_class = Spawner
c.DockerSpawner.image = "vt-busybox"
# What a notebook server is to the hub: it answers by HTTP.
c.Spawner.cmd = ["/bin/sh", "-c", "sleep 2; httpd -p 8888; exec /init"]
c.Spawner.start_timeout = 60
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.remove = False
c.JupyterHub.services = [
    {"name": "vestibule", "api_token": os.environ["VESTIBULE_TOKEN"]},
    {"name": "blind", "api_token": os.environ["BLIND_TOKEN"]},
    {"name": "tester", "api_token": os.environ["TESTER_TOKEN"], "admin": True},
    {"name": "culler", "api_token": "culler-token-1188ff"},
]
c.JupyterHub.load_roles = [
    {
        "name": "vestibule",
        "scopes": [
            "list:users", "read:users", "read:servers", "start:servers", "users:activity", "admin:auth_state"
        ],
        "services": ["vestibule"],
    },
    {
        "name": "culler",
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        "services": ["culler"],
    },
    {"name": "blind", "scopes": ["list:users", "read:users", "read:servers"], "services": ["blind"]},
]
