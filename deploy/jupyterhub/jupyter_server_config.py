"""Everyone's Jupyter server on the Hub's machine; setup.sh puts it where Jupyter looks."""

c = get_config()  # noqa: F821  (Jupyter defines it while it reads this file)

# A kernel's output can be read by whoever may connect to it: no port, which every account of the
# machine reaches, but sockets in the student's own home, at ~/.run: a socket's path may have 107
# characters.
c.KernelManager.transport = "ipc"
