"""nbgrader's own tests run with this configuration beside each test's own: `make test-nbgrader`."""

import proctor

c = get_config()  # noqa: F821  (nbgrader defines it while it reads this file)

proctor.configure(c)
