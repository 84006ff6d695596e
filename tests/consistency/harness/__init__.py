"""The consistency harness: an application at work on real servers, everything of the cache at work beside it,
faults in between, and every read compared with the source. `python -m tests.consistency.harness --help`.

A run is made of rounds. Each round makes one database per workload (a *site*), lets its workers loose for a
while, and ends with a settling of accounts: prepared transactions are ended, the cache is swept, everything
is compared once more, and the ledger says whether a committed transaction was lost.

    options, run, __main__   what to do, the rounds of one server, the command
    site                     one database with its workers, its gate and its first failure
    worker                   a thread with a connection that may be lost at any time
    workload, meshhook,      what the application does: tables, definitions, single writes
      schemas, writes_more
    writers, resolver,       transactions of the application, in all their endings; prepared ones; what is not
      migrator               MVCC in PostgreSQL (TRUNCATE, partitions), behind the gate
    keepers, administrator,  fills, refreshes and sweeps; definitions that change while all this goes on, by
      changer, definer       several administrators
    readers, answers         who compares: the checker's statement, or single answers with a SELECT
    ledger                   what was acknowledged to the application
    faults, victim, pooler   what is killed, and PgBouncer
    monitor, serverlog       who waits for which lock, and what the server says of it
    tally, report            the counts, and the page made of them
    planting                 a command of its own: finds the harness what it is there to find?
    peers                    the same writers under the usual other caches, and a table of how stale they are

Two things can be exchanged.

A *subject* (subject.Subject) answers reads. It brings what it installs, its readers (any Worker; for one that
gives single answers: answers.AnswersReader over an answers.Answers), its own maintenance, and a hook that is
told of every write and every ending of a transaction (delete after commit needs that). The workload, faults
and ledger stay the same. A subject that promises less than ours says `exact = False`: what differs is counted
instead of ending the run.

A *plant* is a function of a psycopg connection that breaks the installed SQL of a site, called after the
definitions were applied and before anybody works: `run(Options(plants=(break_it,), administrators=0))`: who
changes definitions mends most of what is broken. It ends at the first wrong row; `Report.failures[0]` says
what was wrong and after how many seconds.
"""
