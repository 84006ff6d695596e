"""The usual ways to cache a read, each as a good engineer would do it, next to meshcache: the same read.

It is a row of `workflow_definition`, a JSON document of 1.5 to 15 KB and the columns around it, by key, made
into the dataclass WorkflowDefinition. Two things are measured, since neither says much alone: how long it
takes when it is a hit, and how often it is wrong while others write.

    contender                   what each of them has to do
    application                 the read, the writes, and the numbers in the rows that tell old from new
    aside                       cache-aside: look, else ask the source and store; delete after the commit
    source                      no cache; and the floor, a prepared SELECT of a table by its primary key
    meshcache                   the repository
    documents                   a row as the JSON document that goes to Redis and memcached
    redis_aside                 GET and orjson of the row, over a Unix socket
    memcached_aside             the same on memcached
    django_cache                Django's database cache, which pickles
    dogpile_region              a dogpile.cache region on Redis, which pickles and locks
    tables                      what the three that keep all rows in a table have in common
    twin, write_through         a table kept by the application's code, and by triggers
    matview                     a materialized view, refreshed every second
    speed, staleness            the two measurements
    compare                     all of it, as a table

Everybody reads outside of a transaction, on connections of its own, and decodes JSON with orjson. Only Django
and dogpile.cache do not: they pickle the dataclass, which is what they do unless told otherwise.

Not to be confused with `make consistency-peers`, which compares by the same idea over more views and writes,
and measures no times.
"""
