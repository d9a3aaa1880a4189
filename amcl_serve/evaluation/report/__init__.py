"""What people and pipelines see of a `Result`: a page, its data as JSON, and its gates as JUnit XML.

    verdicts = judge(gates, result)
    write(result, verdicts, folder)      report.html, report.json, junit.xml

Nothing is measured here. All text of a result may be a stranger's: names of files, labels, a model's name.
"""
