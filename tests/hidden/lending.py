"""Right helpers in the place of a student's, while something is tried that is built on them.

LEND is source for drivers that execute it. Whoever uses it defines `provided(names, theirs)` there:
a right one for each name, given the student's names.
"""

from proctor.testing import any_passes

LEND = '''
class lend:
    """Inside, these names are right ones; afterwards the student's again."""

    def __init__(self, theirs, names):
        self.theirs, self.old = theirs, {name: theirs.get(name) for name in names}

    def __enter__(self):
        self.theirs.update(provided(self.old, self.theirs))

    def __exit__(self, *error):
        for name, value in self.old.items():
            if value is None:
                del self.theirs[name]
            else:
                self.theirs[name] = value
'''


def own_or_lent(check, *names):
    """The better of two: a check on the student's own pieces, or with right ones of these names."""
    any_passes(lambda: check(()), lambda: check(names))
