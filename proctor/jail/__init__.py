"""The jail: what a student's code can see, reach and use up.

A freshly forked worker calls `enter`, and on return it is jailed. There are three levels
(`Isolation`); `probe` finds the best one that this machine can give by doing the whole sequence,
and `diagnose` says in plain words what is missing. docs/jail.md states each guarantee and limit.

The modules, in the order in which a worker passes them: `namespaces` (a new root, nothing else in
sight), `landlock`, `identity` (user and capabilities), `limits`, `seccomp` (the system calls that
are left); `entry` puts them in order, `doctor` tries them one by one.
"""

from proctor.jail.doctor import Finding, diagnose, probe
from proctor.jail.entry import Isolation, discard, enter, prepare
from proctor.jail.limits import Limits

__all__ = ["Finding", "Isolation", "Limits", "diagnose", "discard", "enter", "prepare", "probe"]
