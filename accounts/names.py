"""CSMs and products as imports name them: by e-mail, name or key; those there are not yet are made, and told.

All of it goes by the temporary table `staged` (accounts.records).
"""

import re

from .models import Csm
from .record_warnings import run_sql

NO_CSM = "no CSM is called so; write the e-mail address"
SEVERAL_CSMS = "several CSMs are called so; write the e-mail address"


def name_csms(cursor, given):
    """E-mails in `staged` for CSMs that are given by name; removes the rows with a name that is nobody's or of several."""
    if not (~given.drop_nulls().str.contains("@", literal=True)).any():
        return []
    run_sql(
        cursor,
        """update staged s set csm = lower(c.email) from accounts_csm c
            where s.csm not like '%%@%%' and lower(c.name) = lower(s.csm)
              and not exists (select from accounts_csm o where lower(o.name) = lower(s.csm) and o.id <> c.id)""",
    )
    run_sql(
        cursor,
        """delete from staged s where s.csm not like '%%@%%'
           returning nr, csm, exists (select from accounts_csm c where lower(c.name) = lower(s.csm))""",
    )
    return [(nr, "csm", name, SEVERAL_CSMS if known else NO_CSM) for nr, name, known in cursor.fetchall()]


def make_csms(cursor):
    """A CSM for every e-mail not known yet (each with its history), named after it; how they are called."""
    run_sql(
        cursor,
        """select distinct csm from staged where csm is not null
           and not exists (select from accounts_csm c where lower(c.email) = csm) order by csm""",
    )
    emails = [email for (email,) in cursor.fetchall()]
    taken = {name.casefold() for name in Csm.objects.values_list("name", flat=True)} if emails else set()
    made = []
    for email in emails:
        name = _name_of(email)
        if name.casefold() in taken:  # two of one name are told apart
            name = f"{name[: 198 - len(email)]} ({email})"
        taken.add(name.casefold())
        Csm.objects.create(email=email, name=name[:200])
        made.append(name if email in name else f"{name} ({email})")
    return made


def _name_of(email):
    """`jane.doe@example.com` -> Jane Doe, `csm01@example.com` -> CSM 01."""
    words = re.findall(r"[^\W\d_]+|\d+", email.partition("@")[0])
    return " ".join("CSM" if word == "csm" else word.capitalize() for word in words)[:200]


def make_products(cursor):
    """The products there were not before, each with the one it is nearly called like."""
    run_sql(
        cursor,
        """with made as (insert into accounts_product (key, name)
                         select distinct product, '' from staged where product is not null on conflict do nothing
                         returning key)
           select m.key, (select min(p.key) from accounts_product p where lower(p.key) = lower(m.key) and p.key <> m.key)
             from made m order by 1""",
    )
    return [f"{key} (there is {other} already)" if other else key for key, other in cursor.fetchall()]
