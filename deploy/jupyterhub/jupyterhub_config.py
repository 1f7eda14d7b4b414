"""The Hub of one course: real accounts, a server for each, and formgrader for the instructors.

Settings stand in hub.env beside this file, who takes part in members.csv beside that; setup.sh puts
them there. A change of either counts from the Hub's next start.
"""

import csv
from pathlib import Path
from pwd import getpwnam

from jupyterhub import orm
from jupyterhub.auth import PAMAuthenticator

c = get_config()  # noqa: F821  (JupyterHub defines it while it reads this file)

HERE = Path(__file__).resolve().parent
LINES = (line.strip() for line in (HERE / "hub.env").read_text().splitlines())
HUB = dict(line.split("=", 1) for line in LINES if line and not line.startswith("#"))
COURSE, PREFIX, STATE = HUB["COURSE"], Path(HUB["PREFIX"]), Path(HUB["STATE"])
GRADER = f"grader-{COURSE}"


def members() -> dict[str, str]:
    """The role of everyone who takes part, by account."""
    with open(HERE / "members.csv", newline="", encoding="utf-8-sig") as file:
        return {row["id"]: row["role"] or "student" for row in csv.DictReader(file)}


def home(account: str) -> str:
    return getpwnam(account).pw_dir


class Members(PAMAuthenticator):
    """Lets in whoever members.csv names, by the machine's own passwords."""

    def add_user(self, user):
        """Forgets a user's groups as the Hub starts: those of members.csv are given next, so that
        who is no longer an instructor does not stay one.
        """
        super().add_user(user)
        if isinstance(user, orm.User):
            user.groups = []

    async def refresh_user(self, user, handler=None):
        """Ends the sessions of who has left, also those begun before."""
        return user.name == GRADER or user.name in members()


MEMBERS = members()
STUDENTS = sorted(name for name, role in MEMBERS.items() if role == "student")
INSTRUCTORS = sorted(name for name, role in MEMBERS.items() if role == "instructor")

# Who may log in ---------------------------------------------------------------------------------

c.JupyterHub.authenticator_class = Members
c.Authenticator.allowed_users = set(MEMBERS)
c.Authenticator.allow_existing_users = False  # who has left stays in the Hub's database
c.Authenticator.delete_invalid_users = True  # until the account is gone from the machine
c.Authenticator.auth_refresh_age = 60
c.Authenticator.auth_refresh_strict = True
c.PAMAuthenticator.open_sessions = False  # the Hub's own processes are no login session

# nbgrader reads who takes part in which course from groups of these names. Nobody logs in as the
# grader: its user exists so that formgrader can ask the Hub for it.
c.JupyterHub.load_groups = {
    f"nbgrader-{COURSE}": {"users": STUDENTS},
    f"formgrade-{COURSE}": {"users": [*INSTRUCTORS, GRADER]},
}
c.JupyterHub.load_roles = [
    # A server may ask the Hub what its user may ask: nbgrader's extensions run in it.
    {"name": "server", "scopes": ["inherit"]},
    {
        "name": f"formgrade-{COURSE}",
        "groups": [f"formgrade-{COURSE}"],
        "scopes": [
            f"access:services!service={COURSE}",
            "list:services",
            f"read:services!service={COURSE}",
        ],
    },
    {
        "name": f"service-{COURSE}",
        "services": [COURSE],
        "scopes": ["list:users", "read:users:name", "read:users:groups"],
    },
]

# What runs --------------------------------------------------------------------------------------

SINGLEUSER = str(PREFIX / "bin/jupyterhub-singleuser")
# nbgrader calls the program `alembic`: the environment's own must be the one that is found.
SEARCH = f"{PREFIX}/bin:/usr/local/bin:/usr/bin:/bin"

# A student's server runs as the student: what the exchange records as a submission's owner is true.
c.JupyterHub.spawner_class = "jupyterhub.spawner.LocalProcessSpawner"
c.Spawner.cmd = [SINGLEUSER]
c.Spawner.default_url = "/lab"
c.Spawner.env_keep = ["LANG", "LC_ALL", "TZ"]
c.Spawner.environment = {
    "PATH": SEARCH,
    # The package that a student builds lies beside the assignments; see docs/students.md.
    "PYTHONPATH": lambda spawner: f"{home(spawner.user.name)}/{COURSE}",
    "JUPYTER_RUNTIME_DIR": lambda spawner: f"{home(spawner.user.name)}/.run",
}
c.Spawner.start_timeout = 180
c.Spawner.http_timeout = 180

# Formgrader, for all instructors, on the course that the grading account has.
c.JupyterHub.services = [
    {
        "name": COURSE,
        "url": f"http://127.0.0.1:{HUB['COURSE_PORT']}",
        "command": [SINGLEUSER],
        "user": GRADER,
        "cwd": f"{home(GRADER)}/{COURSE}",
        "oauth_no_confirm": True,
        "environment": {
            "PATH": SEARCH,
            "JUPYTER_RUNTIME_DIR": f"{home(GRADER)}/.run",
            "JUPYTERHUB_USER": GRADER,
            "JUPYTERHUB_DEFAULT_URL": "/lab?formgrader=true",
        },
    }
]

# Where it is reached ----------------------------------------------------------------------------

SCHEME = "https" if HUB["TLS_CERT"] else "http"
c.JupyterHub.bind_url = f"{SCHEME}://{HUB['BIND']}:{HUB['PORT']}"
c.JupyterHub.ssl_key = HUB["TLS_KEY"]
c.JupyterHub.ssl_cert = HUB["TLS_CERT"]
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{HUB['HUB_PORT']}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{HUB['PROXY_PORT']}"
c.ConfigurableHTTPProxy.command = [str(PREFIX / "proxy/node_modules/.bin/configurable-http-proxy")]

c.JupyterHub.db_url = f"sqlite:///{STATE}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = str(STATE / "cookie_secret")
c.ConfigurableHTTPProxy.pid_file = str(STATE / "proxy.pid")
# Students go on working while the Hub is restarted.
c.JupyterHub.cleanup_servers = False
