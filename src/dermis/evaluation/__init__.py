"""Protocols, metrics with patient-bootstrap intervals, and the report."""
