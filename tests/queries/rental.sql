-- A rental shop: films and who plays in them, copies in two stores, rentals, and payments by month.
create schema rental;

create type rental.mpaa_rating as enum ('G', 'PG', 'PG-13', 'R', 'NC-17');

create table rental.country (
    country_id integer primary key,
    country text not null
);

create table rental.city (
    city_id integer primary key,
    city text not null,
    country_id integer not null references rental.country
);

create table rental.address (
    address_id integer primary key,
    address text not null,
    address2 text,
    district text not null,
    city_id integer not null references rental.city,
    postal_code text,
    phone text not null default ''
);

create table rental.language (
    language_id integer primary key,
    name text not null
);

create table rental.actor (
    actor_id integer primary key,
    first_name text not null,
    last_name text not null
);

create table rental.category (
    category_id integer primary key,
    name text not null
);

create table rental.film (
    film_id integer primary key,
    title text not null,
    description text,
    release_year smallint,
    language_id integer not null references rental.language,
    original_language_id integer references rental.language,
    rental_duration smallint not null default 3,
    rental_rate numeric(4, 2) not null default 4.99,
    length smallint,
    replacement_cost numeric(5, 2) not null default 19.99,
    rating rental.mpaa_rating default 'G',
    special_features text[]
);

create table rental.film_actor (
    actor_id integer not null references rental.actor on delete cascade,
    film_id integer not null references rental.film on delete cascade,
    primary key (actor_id, film_id)
);

create table rental.film_category (
    film_id integer not null references rental.film on delete cascade,
    category_id integer not null references rental.category,
    primary key (film_id, category_id)
);

create table rental.store (
    store_id integer primary key,
    manager_staff_id integer not null unique,
    address_id integer not null references rental.address
);

create table rental.staff (
    staff_id integer primary key,
    first_name text not null,
    last_name text not null,
    address_id integer not null references rental.address,
    email text,
    store_id integer not null references rental.store,
    active boolean not null default true,
    username text not null,
    password text
);

create table rental.customer (
    customer_id integer primary key,
    store_id integer not null references rental.store,
    first_name text not null,
    last_name text not null,
    email text,
    address_id integer not null references rental.address,
    activebool boolean not null default true,
    create_date date not null
);

create table rental.inventory (
    inventory_id integer primary key,
    film_id integer not null references rental.film on delete cascade,
    store_id integer not null references rental.store
);

create table rental.rental (
    rental_id integer primary key,
    rental_date timestamp not null,
    inventory_id integer not null references rental.inventory on delete cascade,
    customer_id integer not null references rental.customer on delete cascade,
    return_date timestamp,
    staff_id integer not null references rental.staff
);

create table rental.payment (
    payment_id integer not null,
    customer_id integer not null references rental.customer on delete cascade,
    staff_id integer not null references rental.staff,
    rental_id integer references rental.rental on delete cascade,
    amount numeric(5, 2) not null,
    payment_date timestamp not null,
    primary key (payment_date, payment_id)
) partition by range (payment_date);

create table rental.payment_p2022_01 partition of rental.payment
for values from ('2022-01-01') to ('2022-02-01');
create table rental.payment_p2022_02 partition of rental.payment
for values from ('2022-02-01') to ('2022-03-01');
create table rental.payment_rest partition of rental.payment default;

create index on rental.film_actor (film_id);
create index on rental.inventory (film_id, store_id);
create index on rental.rental (inventory_id);
create index on rental.rental (customer_id);
create index on rental.payment (customer_id);
create index on rental.payment (rental_id);

-- Views of the application: cached views read through them.
create view rental.customer_list with (security_invoker = true) as
select
    cu.customer_id as id, cu.first_name || ' ' || cu.last_name as name, a.address, a.postal_code as "zip code",
    a.phone, c.city, co.country, case when cu.activebool then 'active' else '' end as notes, cu.store_id as sid
from rental.customer as cu
inner join rental.address as a on a.address_id = cu.address_id
inner join rental.city as c on c.city_id = a.city_id
inner join rental.country as co on co.country_id = c.country_id;

create view rental.sale as
select p.payment_id, p.payment_date, p.amount, i.store_id, i.film_id
from rental.payment as p
inner join rental.rental as r on r.rental_id = p.rental_id
inner join rental.inventory as i on i.inventory_id = r.inventory_id;

create materialized view rental.rental_by_category as
select c.name as category, sum(s.amount) as total_sales
from rental.sale as s
inner join rental.film_category as fc on fc.film_id = s.film_id
inner join rental.category as c on c.category_id = fc.category_id
group by c.name;

insert into rental.country select n, 'Country ' || n from generate_series(1, 5) as n;
insert into rental.city select n, 'City ' || n, 1 + n % 5 from generate_series(1, 15) as n;
insert into rental.address (address_id, address, address2, district, city_id, postal_code, phone)
select
    n, n || ' Main Street', case when n % 4 = 0 then 'back' end, 'District ' || n % 4, 1 + n % 12,
    10000 + n, '555-' || n
from generate_series(1, 30) as n;
insert into rental.language
select n, (array['English', 'Italian', 'Japanese', 'French'])[n] from generate_series(1, 4) as n;
insert into rental.actor select n, 'First' || n, 'Last' || n % 7 from generate_series(1, 16) as n;
insert into rental.category
select n, (array['Action', 'Comedy', 'Drama', 'Family', 'Music'])[n] from generate_series(1, 5) as n;
insert into rental.film (
    film_id, title, description, release_year, language_id, original_language_id, rental_duration, rental_rate, length,
    rating, special_features
)
select
    n, 'Film ' || n, 'What happens in film ' || n, 1990 + n % 20, 1 + n % 3, case when n % 3 = 0 then 4 end, 3 + n % 4,
    0.99 + n % 3, 60 + 10 * (n % 6), (enum_range(null::rental.mpaa_rating))[1 + n % 4],
    (array['Trailers', 'Commentaries', 'Deleted Scenes', 'Behind the Scenes'])[1:n % 5]
from generate_series(1, 30) as n;
insert into rental.film_actor
select distinct 1 + n % 16, 1 + (n * 7) % 30 from generate_series(1, 70) as n;
insert into rental.film_category select n, 1 + n % 5 from generate_series(1, 30) as n;
insert into rental.film_category select n, 1 + (n + 2) % 5 from generate_series(1, 30, 3) as n;
insert into rental.store values (1, 1, 1), (2, 2, 2);
insert into rental.staff (staff_id, first_name, last_name, address_id, email, store_id, username, password)
values
(1, 'Mia', 'North', 3, 'mia@shop.example', 1, 'mia', 'x'), (2, 'Jon', 'South', 4, 'jon@shop.example', 2, 'jon', 'y'),
(3, 'Ada', 'East', 5, null, 2, 'ada', 'z');
alter table rental.store add foreign key (manager_staff_id) references rental.staff deferrable;
insert into rental.customer
select
    n, 1 + n % 2, 'Given' || n, 'Family' || n, 'c' || n || '@mail.example', 6 + n % 22, n % 9 <> 0,
    date '2021-06-01' + n
from generate_series(1, 20) as n;
-- The last three films have no copy.
insert into rental.inventory select n, 1 + n % 27, 1 + n % 2 from generate_series(1, 50) as n;
-- The last customers and copies were never part of a rental.
insert into rental.rental
select
    n, timestamp '2022-01-01 09:00' + n * interval '11 hours', 1 + n % 45, 1 + n % 18,
    case when n % 6 <> 0 then timestamp '2022-01-03 17:00' + n * interval '11 hours' end, 1 + n % 2
from generate_series(1, 120) as n;
insert into rental.payment
select n, 1 + n % 18, 1 + n % 2, n, 0.99 + n % 5, timestamp '2022-01-01 09:05' + n * interval '11 hours'
from generate_series(1, 120) as n;
refresh materialized view rental.rental_by_category;
