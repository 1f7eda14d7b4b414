"""nbgrader for everyone on the Hub's machine; setup.sh puts it where Jupyter looks.

The course's own nbgrader_config.py is read after it.
"""

import os
from pathlib import Path

c = get_config()  # noqa: F821  (nbgrader defines it while it reads this file)

LINES = (line.strip() for line in Path(__file__).with_name("hub.env").read_text().splitlines())
HUB = dict(line.split("=", 1) for line in LINES if line and not line.startswith("#"))

c.CourseDirectory.course_id = HUB["COURSE"]
c.Exchange.root = HUB["EXCHANGE"]
# ~/COURSE/01_tensor: the assignments stand side by side, with the student's package beside them.
c.Exchange.path_includes_course = True
if "JUPYTERHUB_API_TOKEN" in os.environ:  # in a terminal outside of the Hub there is none
    c.Authenticator.plugin_class = "nbgrader.auth.JupyterHubAuthPlugin"

# What links lead to, and what one student puts there in another's name, is not collected.
c.ExchangeFactory.collect = "proctor.lms.exchange.Collect"
