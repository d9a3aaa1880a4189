"""Gates as JUnit XML, which continuous integration shows beside its tests."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from amcl_serve.evaluation.report.gates import Verdict
from amcl_serve.evaluation.report.words import clean
from amcl_serve.evaluation.result import Result


def junit(result: Result, verdicts: Sequence[Verdict]) -> bytes:
    """A test suite with a case for each gate; one that names no figure is an error, others fail."""
    errors = sum(verdict.figure is None for verdict in verdicts)
    counts = {
        "tests": str(len(verdicts)),
        "failures": str(sum(not verdict.passed for verdict in verdicts) - errors),
        "errors": str(errors),
        "time": f"{result.seconds:.3f}",
    }
    suites = ElementTree.Element("testsuites", {"name": "amcl-serve evaluate", **counts})
    suite = ElementTree.SubElement(suites, "testsuite", {"name": clean(result.title), **counts})
    if result.started:
        suite.set("timestamp", clean(result.started))
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in result.provenance.items():
        ElementTree.SubElement(properties, "property", name=clean(name), value=clean(str(value)))
    for verdict in verdicts:
        # The suite's time is all there is: a gate takes none of its own.
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"evaluation.{clean(result.protocol)}", name=clean(str(verdict.gate)), time="0"
        )
        if not verdict.passed:
            kind = "error" if verdict.figure is None else "failure"
            ElementTree.SubElement(case, kind, message=clean(verdict.reason), type="gate")
    ElementTree.indent(suites)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)) + b"\n"
