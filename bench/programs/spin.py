"""CPU-bound Python: loops, calls, lists, dictionaries.  Argument: how many rounds."""

import sys


def fibonacci(number: int) -> int:
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)


total = 0
words: dict[str, int] = {}
for turn in range(int(sys.argv[1])):
    total += fibonacci(18)
    words[f"word{turn % 100}"] = words.get(f"word{turn % 100}", 0) + turn
    total += sum(value * value for value in range(2000))
    total += len(sorted(str(value) for value in range(300)))
print(total, sum(words.values()))
