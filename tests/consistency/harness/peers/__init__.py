"""The usual ways to keep a cache honest, made by the book, under the harness's writers and one and the same
checker: `python -m tests.consistency.harness.peers --help`, or `make consistency-peers`.

Everybody gets MeshHook's tables and writes (workload), the same four views, seeds and duration, the same
number of readers (peer), and a server of their own. What a view's key is touched by is written down once
(lookups), as an application's author would: everybody who needs it uses that.

    workload            MeshHook's writes without those that only our cache claims to survive
    peer                the readers, the comparison, what is left when all has come to rest
    lookups             which change of which table concerns which key, and triggers made of it
    table               a database table as cache, for the two ways that keep one
    redis_aside         cache-aside: GET, else SELECT and SET; DEL after the writer's commit
    redis_server        a private Redis for it
    delete_trigger      a cache table; triggers delete what a writer touches, readers fill
    write_through       a cache table; triggers compute anew what a writer touches
    notify              a cache in the process; triggers NOTIFY, a listener drops
    matview             materialized views, refreshed concurrently every second
    ours, source        meshcache; no cache at all, as a measure
    result, __main__    the table and the command

A read is stale if the answer is not what the SELECT gives. For caches in the database that is asked in the
reader's own snapshot. For those outside of it the source is asked just before and just after: an answer that
equals one of the two is right, and where the two differ anything else is "undecided" and does not count,
because it may have been true in between. Stale at rest is what is still wrong when everybody has stopped and
every message has arrived: nothing will mend it until its time to live is over, if it has one.
"""
