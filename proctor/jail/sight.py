"""What a jailed process may read."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path


def readable_paths(also: Iterable[str] = ()) -> list[str]:
    """What a worker may read: the standard library, shared libraries, time zones and locales,
    packages imported so far, and these paths.
    """
    paths = {sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["platstdlib"], *also}
    for folder in ("/lib", "/usr/lib", "/lib64", "/usr/lib64"):
        # Debian keeps Python packages in /usr/lib, too, and libraries in a folder of their own
        own = [str(path) for path in Path(folder).glob("*-linux-*") if path.is_dir()]
        paths.update(own or [folder] * os.path.isdir(folder))
    data = ("/usr/share/zoneinfo", "/usr/lib/locale")
    paths.update(folder for folder in data if os.path.isdir(folder))
    # of a Python that brings its own libraries: them alone, other packages lie beside them
    paths |= {str(path) for path in Path(sys.base_prefix, "lib").glob("*.so*")}
    packages = sysconfig.get_paths()["purelib"]
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and "." not in name and file.startswith(packages):
            place = os.path.dirname(file)
            paths.add(file if place == packages else place)
            if os.path.isdir(f"{packages}/{name}.libs"):
                paths.add(f"{packages}/{name}.libs")
    return sorted({os.path.realpath(path) for path in paths})
