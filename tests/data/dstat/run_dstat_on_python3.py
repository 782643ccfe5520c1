# Runs dstat 0.8.0 unchanged under Python 3: it forgot `import types` and Python 2's names in it.
import builtins, sys, types
types.ListType, types.TupleType, types.StringType, types.FloatType, types.IntType, types.LongType = list, tuple, str, float, int, int
builtins.types = types
plain = open
def by_line(name, mode="r", buffering=-1, *more, **named):  # dstat leaves by os._exit: what is buffered is lost
    return plain(name, mode, 1 if mode in ("w", "a") else buffering, *more, **named)
builtins.open = by_line
path = sys.argv[1]; sys.argv = ["dstat", *sys.argv[2:]]
exec(compile(open(path).read(), path, "exec"), {"__name__": "__main__", "__file__": path})
