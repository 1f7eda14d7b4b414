"""The jail: what a student's code can see, reach and use up.

A warm process calls `prepare` once, and `fork` for each worker. The worker calls `enter`, and on
return it is jailed. There are three levels (`Isolation`); `probe` finds the best one that this
machine can give by doing the whole sequence, and `diagnose` says in plain words what is missing.
docs/jail.md states each guarantee and limit.

The modules, in the order in which a worker passes them: `sight` (what it may read), `namespaces`
(a new root, nothing else in sight), `landlock`, `identity` (user and capabilities), `limits`,
`seccomp` (the system calls that are left; `libseccomp` builds the filter); `entry` puts them in
order, `ready` does a part of it ahead, `doctor` tries them one by one.
"""

from proctor.jail.doctor import Finding, diagnose, probe
from proctor.jail.entry import Isolation, discard, enter, fork, prepare
from proctor.jail.limits import Limits
from proctor.jail.sight import readable_paths

__all__ = [
    "Finding",
    "Isolation",
    "Limits",
    "diagnose",
    "discard",
    "enter",
    "fork",
    "prepare",
    "probe",
    "readable_paths",
]
