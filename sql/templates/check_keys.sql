-- Asks for keys that are none, before a cached view is made. Composed by keys.py.

-- part: duplicate
-- Nulls are equal to each other for GROUP BY and for nobody else.
select {texts}
from {source} as s
where {none_null}
group by {keys}
having count(*) > 1
limit {shown}

-- part: null
select {texts}
from {source} as s
where {some_null}
limit {shown}
