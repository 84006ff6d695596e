-- An order system: customers with a code as key, orders with lines of a composite key, products by category and
-- supplier; employees and the tree of their territories in a schema of their own. products.attributes and
-- .price_steps, and the table that orders are moved to when they are old, are additions.
create schema trade;
create schema staff;

create table trade.categories (
    category_id smallint primary key,
    category_name varchar(15) not null,
    description text
);

create table trade.suppliers (
    supplier_id smallint primary key,
    company_name varchar(40) not null,
    contact_name varchar(30),
    city varchar(15),
    country varchar(15) not null,
    phone varchar(24)
);

create table trade.products (
    product_id smallint primary key,
    product_name varchar(40) not null,
    supplier_id smallint references trade.suppliers on delete set null,
    category_id smallint references trade.categories on delete set null,
    quantity_per_unit varchar(20),
    unit_price numeric(10, 2),
    units_in_stock smallint not null default 0,
    units_on_order smallint not null default 0,
    reorder_level smallint not null default 0,
    discontinued integer not null default 0,
    attributes jsonb not null default '{}',
    price_steps jsonb not null default '[]'
);

create table trade.customers (
    customer_id char(5) primary key,
    company_name varchar(40) not null,
    contact_name varchar(30),
    address varchar(60),
    city varchar(15),
    postal_code varchar(10),
    country varchar(15) not null,
    phone varchar(24)
);

create table trade.shippers (
    shipper_id smallint primary key,
    company_name varchar(40) not null,
    phone varchar(24)
);

create table staff.region (
    region_id smallint primary key,
    region_description varchar(60) not null
);

create table staff.territories (
    territory_id varchar(20) primary key,
    territory_description varchar(60) not null,
    region_id smallint not null references staff.region on delete cascade
);

create table staff.employees (
    employee_id smallint primary key,
    last_name varchar(20) not null,
    first_name varchar(10) not null,
    title varchar(30),
    hire_date date,
    city varchar(15),
    country varchar(15),
    reports_to smallint references staff.employees on delete set null
);

create table staff.employee_territories (
    employee_id smallint not null references staff.employees on delete cascade,
    territory_id varchar(20) not null references staff.territories on delete cascade,
    primary key (employee_id, territory_id)
);

create table trade.orders (
    order_id smallint primary key,
    customer_id char(5) references trade.customers on delete cascade on update cascade,
    employee_id smallint references staff.employees on delete set null,
    order_date date,
    required_date date,
    shipped_date date,
    ship_via smallint references trade.shippers on delete set null,
    freight numeric(10, 2) not null default 0,
    ship_city varchar(15),
    ship_country varchar(15)
);

-- Old orders are moved here; whoever reads trade.orders reads them, too.
create table trade.orders_archive (
    archived_on date not null default '1998-12-31'
) inherits (trade.orders);

create table trade.order_details (
    order_id smallint not null,
    product_id smallint not null references trade.products on delete cascade,
    unit_price numeric(10, 2) not null,
    quantity smallint not null,
    discount numeric(3, 2) not null default 0,
    primary key (order_id, product_id)
);

create table trade.us_states (
    state_id smallint primary key,
    state_name varchar(100),
    state_abbr varchar(2)
);

create type trade.place as (city text, country text);

create index on trade.products (supplier_id);
create index on trade.products (category_id);
create index on trade.orders (customer_id);
create index on trade.orders (employee_id);
create index on trade.order_details (product_id);
create index on staff.employee_territories (territory_id);

create view trade.order_subtotals as
select d.order_id, sum(d.unit_price * d.quantity * (1 - d.discount)) as subtotal
from trade.order_details as d
group by d.order_id;

create view trade.current_product_list with (security_invoker = true) as
select p.product_id, p.product_name, p.category_id from trade.products as p where p.discontinued = 0;

insert into trade.categories select n, 'Category ' || n, 'Goods of kind ' || n from generate_series(1, 6) as n;
insert into trade.suppliers
select n, 'Supplier ' || n, 'Contact ' || n, 'Town ' || n % 4, 'Country ' || n % 3, '555-' || n
from generate_series(1, 8) as n;
insert into trade.products
select
    n, 'Product ' || n, case when n % 11 <> 0 then 1 + n % 7 end, case when n % 13 <> 0 then 1 + n % 5 end,
    n || ' boxes', 5 + n % 9 * 2.5, n * 7 % 30, case when n % 5 = 0 then 10 else 0 end, n % 4 * 5, (n % 8 = 0)::integer,
    jsonb_build_object('colour', (array['red', 'green'])[1 + n % 2], 'weight', n % 6),
    case
        when n % 3 = 0 then '[]'::jsonb
        else jsonb_build_array(
            jsonb_build_object('from', 10, 'price', 5 + n % 5), jsonb_build_object('from', 50, 'price', 4 + n % 5)
        )
    end
from generate_series(1, 30) as n;
insert into trade.customers
select
    upper(substr(md5(n::text), 1, 3)) || n, 'Customer ' || n, 'Contact ' || n, n || ' High Street', 'Town ' || n % 5,
    1000 + n, 'Country ' || n % 4, '556-' || n
from generate_series(1, 15) as n;
insert into trade.shippers select n, 'Shipper ' || n, '557-' || n from generate_series(1, 4) as n;
insert into staff.region values (1, 'East'), (2, 'West'), (3, 'North'), (4, 'South');
insert into staff.territories select (10000 + n)::text, 'Territory ' || n, 1 + n % 3 from generate_series(1, 14) as n;
insert into staff.employees
select
    n, 'Last' || n, 'First' || n, (array['Sales Representative', 'Manager'])[1 + (n % 4 = 1)::integer],
    date '1992-01-01' + n * 50, 'Town ' || n % 4, 'Country ' || n % 2, case when n > 1 then n / 2 end
from generate_series(1, 9) as n;
insert into staff.employee_territories
select distinct 1 + n % 8, (10001 + n * 3 % 13)::text from generate_series(1, 24) as n;
insert into trade.orders
select
    n, (select c.customer_id from trade.customers as c where c.company_name = 'Customer ' || 1 + n % 13), 1 + n % 9,
    date '1996-07-01' + n * 8, date '1996-07-29' + n * 8,
    case when n % 7 <> 0 then date '1996-07-06' + n * 8 + n % 4 * 9 end, 1 + n % 3, n % 10 + 0.25,
    'Town ' || n % 5, 'Country ' || n % 4
from generate_series(11, 70) as n;
insert into trade.orders_archive
select
    n, (select c.customer_id from trade.customers as c where c.company_name = 'Customer ' || 1 + n), 1 + n % 9,
    date '1996-07-01' + n, date '1996-07-29' + n, date '1996-07-10' + n, 1 + n % 3, n, 'Town 1', 'Country 1'
from generate_series(1, 6) as n;
insert into trade.order_details
select distinct on (1 + n % 70, 1 + n * 7 % 27) 1 + n % 70, 1 + n * 7 % 27, 5 + n % 9 * 2.5, 1 + n % 20, n % 3 * 0.05
from generate_series(1, 180) as n;
insert into trade.us_states values (1, 'Alabama', 'AL'), (2, 'Alaska', 'AK'), (3, 'Arizona', null);
