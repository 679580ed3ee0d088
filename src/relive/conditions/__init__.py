"""Conditions: predicates over registers, memory and the hit count of a site.

`language.parse` turns text into the intermediate form of `ir`; `reference` says what it
means; the evaluators decide it where it is cheapest.
"""

from __future__ import annotations
