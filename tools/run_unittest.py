"""One Python test (FILE Class.method) or the list of them (FILE --list), as a process of its own.

Everything that the test started and left is ended by its id. Exit: 0 passed, 1 failed, 77 skipped
(with the reason; a skip is never counted as a pass).
"""
import importlib.util
import os
import sys
import unittest

from devlib import become_subreaper, kill_children


def load(path):
    tools = os.path.dirname(os.path.abspath(__file__))
    sys.path[:0] = [os.path.dirname(os.path.abspath(path)), os.path.join(tools, "demo")]
    spec = importlib.util.spec_from_file_location(os.path.basename(path).removesuffix(".py"), path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def tests_of(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests_of(item)
        else:
            yield item


def main():
    path, what = sys.argv[1], sys.argv[2]
    module = load(path)
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    if what == "--list":
        for test in tests_of(suite):
            method = getattr(test, test._testMethodName)
            seconds = getattr(method, "seconds", getattr(test, "seconds", 60))
            alone = getattr(method, "alone", getattr(test, "alone", False))
            print(f"{type(test).__name__}.{test._testMethodName} {seconds} {'alone' if alone else 'beside'}")
        return 0
    become_subreaper()
    try:
        result = unittest.TextTestRunner(verbosity=2, failfast=True).run(
            unittest.defaultTestLoader.loadTestsFromName(what, module))
    finally:
        kill_children()
    if result.skipped:
        print(f"SKIPPED: {result.skipped[0][1]}")
        return 77
    return 0 if result.wasSuccessful() and result.testsRun == 1 else 1


sys.exit(main())
