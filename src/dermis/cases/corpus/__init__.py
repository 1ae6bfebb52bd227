"""From what was collected to what is trained on: filters, duplicates, leakage, and a record of every case left out.

A rule is a pure function: what it looks at -> the rows that it objects to, each with a reason (a Series of sentences
whose index are positions in the manifest). ``build.build`` applies them one after the other, each to what is left.
"""
