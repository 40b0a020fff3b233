"""People made up for matching: households, some people several times, with typing errors, moves, new addresses.

Prints CSV: id, first_name, surname, dob, street, city, zip, email, phone, person (the truth)."""

import bisect
import itertools
import random
import sys

SYLLABLES = ("ba co da el fi gra ho in jo ka lu mar ne or pe qui ros sa ti ur va wil xa yo zu ber den son ley ton").split()
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Words:
    """Words of a vocabulary, some far more common than others."""

    def __init__(self, dice, size, syllables, skew):
        words = set()
        while len(words) < size:
            words.add("".join(dice.choice(SYLLABLES) for _ in range(dice.choice(syllables))))
        self._words = sorted(words)
        self._sums = list(itertools.accumulate(1 / rank**skew for rank in range(1, size + 1)))
        self._dice = dice

    def pick(self):
        return self._words[bisect.bisect_left(self._sums, self._dice.random() * self._sums[-1])]


class People:
    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.first, self.last = Words(self.dice, 2000, (2, 3), 0.8), Words(self.dice, 20000, (2, 3, 4), 0.7)
        self.streets, self.cities = Words(self.dice, 5000, (2, 3), 0), Words(self.dice, 800, (2, 3), 0.7)
        self.hosts = Words(self.dice, 500, (2, 3), 1)

    def address(self):
        city = self.cities.pick()
        district = random.Random(f"{city}{self.dice.randrange(20)}").randrange(10000, 99999)
        return [f"{self.dice.randrange(1, 200)} {self.streets.pick()} street", city, str(district)]

    def phone(self):
        return f"0{self.dice.randrange(10**9, 10**10 - 1)}"

    def mistyped(self, text):
        if len(text) < 2:
            return text
        i, how = self.dice.randrange(len(text) - 1), self.dice.random()
        if how < 0.3:
            return text[:i] + text[i + 1:]
        if how < 0.8:
            return text[:i] + (self.dice.choice(LETTERS) if how < 0.6 else text[i + 1] + text[i]) + text[i + (1 if how < 0.6 else 2):]
        return text[:i] + self.dice.choice(LETTERS) + text[i:]

    def copy(self, record):
        """The same person once more, as somebody else wrote it down."""
        dice, first, last = self.dice, record[0], record[1]
        copy = list(record)
        for i, value in enumerate(copy):
            fate = dice.random()
            if fate < 0.08:
                copy[i] = ""
            elif value and fate < 0.2:
                copy[i] = self.mistyped(value)
        if dice.random() < 0.03:
            copy[0], copy[1] = copy[1], copy[0]
        if dice.random() < 0.1:
            copy[3:6] = self.address()
        if dice.random() < 0.15:
            copy[6] = f"{first[0]}{last}{dice.randrange(100)}@{self.hosts.pick()}.com"
        return copy

    def household(self):
        dice, surname, address, shared = self.dice, self.last.pick(), self.address(), self.phone()
        for _ in range(dice.choice((1, 1, 2, 2, 3, 4))):
            first, last = self.first.pick(), surname if dice.random() < 0.8 else self.last.pick()
            dob = f"{dice.randrange(1930, 2006)}-{dice.randrange(1, 13):02d}-{dice.randrange(1, 29):02d}"
            email = f"{first}.{last}{dice.randrange(100)}@{self.hosts.pick()}.com" if dice.random() < 0.7 else ""
            phone = shared if dice.random() < 0.25 else self.phone() if dice.random() < 0.6 else ""
            record = [first, last, dob, *address, email, phone]
            copies = 1 if dice.random() < 0.7 else dice.choice((2, 2, 2, 3, 4))
            yield [record] + [self.copy(record) for _ in range(copies - 1)]

    def lines(self, count):
        number = 0
        for person, records in enumerate(records for _ in itertools.count() for records in self.household()):
            for record in records:
                number += 1
                yield ",".join([str(number), *record, str(person)])
                if number == count:
                    return


if __name__ == "__main__":
    print("id,first_name,surname,dob,street,city,zip,email,phone,person")
    for line in People(seed=7).lines(int(sys.argv[1])):
        print(line)
