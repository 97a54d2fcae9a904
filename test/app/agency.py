"""A small application as they are: plain SQL over psycopg2, statuses overwritten in place.

It knows nothing of eventsource. It works on its table "leads" for a while and writes down, one JSON line per row
that it changed and committed, what it did: the ledger that a test compares the recorded history with.

usage: agency.py DSN LEDGER SEED STEPS
"""
import io
import json
import random
import sys

import psycopg2
import psycopg2.extras

NEXT = {"new": ["contacted", "lost"], "contacted": ["offered", "lost"], "offered": ["won", "contacted", "lost"]}
COLUMNS = ("id", "name", "email", "status", "agent", "price", "tags", "profile", "called_at")


class Agency:
    def __init__(self, dsn, ledger, seed):
        self.db = psycopg2.connect(dsn)
        self.ledger = ledger
        self.random = random.Random(seed)
        self.pending = []

    # ---- what it writes down ----

    def rows(self, cursor, ids):
        """The rows as the database prints them, by id."""
        columns = ", ".join(column + "::text" for column in COLUMNS)
        cursor.execute("SELECT " + columns + " FROM leads WHERE id = ANY (%s) ORDER BY leads.id", (list(ids),))
        return {int(row[0]): dict(zip(COLUMNS, row)) for row in cursor.fetchall()}

    def note(self, before, after):
        for key in sorted(before.keys() | after.keys()):
            old, new = before.get(key, {}), after.get(key, {})
            changed = {c: [old.get(c), new.get(c)] for c in COLUMNS if old.get(c) != new.get(c)}
            if changed:
                self.pending.append({"id": key, "changed": changed})

    def commit(self):
        self.db.commit()
        for line in self.pending:
            self.ledger.write(json.dumps(line) + "\n")
        self.pending = []

    def rollback(self):
        self.db.rollback()
        self.pending = []

    # ---- what it does ----

    def pick(self, cursor, count=1):
        cursor.execute("SELECT id FROM leads ORDER BY id")
        ids = [row[0] for row in cursor.fetchall()]
        return self.random.sample(ids, min(count, len(ids)))

    def arrive(self, cursor):
        cursor.execute(
            "INSERT INTO leads (name, email, price, profile) VALUES (%s, %s, %s, %s) RETURNING id",
            ("Lead %d" % self.random.randrange(1000), None, self.random.randrange(10**7) / 100,
             psycopg2.extras.Json({"source": self.random.choice(["web", "phone"]), "n": [1, None, "ü"]})))
        self.note({}, self.rows(cursor, [cursor.fetchone()[0]]))

    def load(self, cursor):
        """A file of leads, by COPY."""
        cursor.execute("SELECT max(id) FROM leads")
        last = cursor.fetchone()[0] or 0
        lines = "".join("Imported\tl%d@example.org\n" % self.random.randrange(10**9) for _ in range(3))
        cursor.copy_expert("COPY leads (name, email) FROM STDIN", io.StringIO(lines))
        self.note({}, self.rows(cursor, range(last + 1, last + 1000)))

    def change(self, cursor, ids, statement, values):
        before = self.rows(cursor, ids)
        cursor.execute(statement, values)
        self.note(before, self.rows(cursor, ids))

    def move(self, cursor):
        for lead in self.pick(cursor):
            status = self.rows(cursor, [lead])[lead]["status"]
            if status in NEXT:
                self.change(cursor, [lead], "UPDATE leads SET status = %s, called_at = now() WHERE id = %s",
                            (self.random.choice(NEXT[status]), lead))

    def assign(self, cursor):
        ids = self.pick(cursor, 5)
        self.change(cursor, ids, "UPDATE leads SET agent = %s WHERE id = ANY (%s)",
                    (self.random.choice(["joe", "ryan", None]), ids))

    def tag(self, cursor):
        ids = self.pick(cursor, 2)
        self.change(cursor, ids, "UPDATE leads SET tags = tags || %s::text, price = price * 1.05 WHERE id = ANY (%s)",
                    (self.random.choice(["hot", "a,b", "\"quoted\""]), ids))

    def upsert(self, cursor):
        for lead in self.pick(cursor):
            self.change(cursor, [lead],
                        "INSERT INTO leads (id, name) VALUES (%s, %s) "
                        "ON CONFLICT (id) DO UPDATE SET name = excluded.name", (lead, "Renamed"))

    def touch(self, cursor):
        """An UPDATE that changes nothing."""
        ids = self.pick(cursor, 3)
        self.change(cursor, ids, "UPDATE leads SET name = name WHERE id = ANY (%s)", (ids,))

    def forget(self, cursor):
        ids = self.pick(cursor)
        self.change(cursor, ids, "DELETE FROM leads WHERE id = ANY (%s)", (ids,))

    def give_up(self, cursor):
        """Work that is thrown away."""
        self.assign(cursor)
        self.arrive(cursor)
        self.rollback()

    def work(self, steps):
        actions = [self.arrive] * 3 + [self.move] * 6 + [self.assign, self.load, self.tag, self.upsert, self.touch,
                                                         self.forget, self.give_up]
        for _ in range(steps):
            with self.db.cursor() as cursor:
                for action in self.random.choices(actions, k=self.random.choice([1, 1, 3])):
                    action(cursor)
            self.commit()


if __name__ == "__main__":
    with open(sys.argv[2], "a", encoding="utf-8") as file:
        Agency(sys.argv[1], file, int(sys.argv[3])).work(int(sys.argv[4]))
