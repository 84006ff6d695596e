-- A music store whose names are written with capitals, so that everything has to be quoted: artists, albums,
-- tracks, playlists, invoices with lines, employees who report to each other. "Hörbuch" is an addition.
create schema music;

create table music."Artist" (
    "ArtistId" integer primary key,
    "Name" varchar(120)
);

create table music."Album" (
    "AlbumId" integer primary key,
    "Title" varchar(160) not null,
    "ArtistId" integer not null references music."Artist" on delete cascade
);

create table music."Genre" (
    "GenreId" integer primary key,
    "Name" varchar(120)
);

create table music."MediaType" (
    "MediaTypeId" integer primary key,
    "Name" varchar(120)
);

create table music."Track" (
    "TrackId" integer primary key,
    "Name" varchar(200) not null,
    "AlbumId" integer references music."Album" on delete cascade,
    "MediaTypeId" integer not null references music."MediaType",
    "GenreId" integer references music."Genre" on delete set null,
    "Composer" varchar(220),
    "Milliseconds" integer not null,
    "Bytes" integer,
    "UnitPrice" numeric(10, 2) not null
);

create table music."Playlist" (
    "PlaylistId" integer primary key,
    "Name" varchar(120)
);

create table music."PlaylistTrack" (
    "PlaylistId" integer not null references music."Playlist" on delete cascade on update cascade,
    "TrackId" integer not null references music."Track" on delete cascade on update cascade,
    primary key ("PlaylistId", "TrackId")
);

create table music."Employee" (
    "EmployeeId" integer primary key,
    "LastName" varchar(20) not null,
    "FirstName" varchar(20) not null,
    "Title" varchar(30),
    "ReportsTo" integer references music."Employee" on delete set null,
    "HireDate" timestamp,
    "City" varchar(40),
    "Email" varchar(60)
);

create table music."Customer" (
    "CustomerId" integer primary key,
    "FirstName" varchar(40) not null,
    "LastName" varchar(20) not null,
    "Company" varchar(80),
    "City" varchar(40),
    "Country" varchar(40),
    "Email" varchar(60) not null,
    "SupportRepId" integer references music."Employee" on delete set null
);

create table music."Invoice" (
    "InvoiceId" integer primary key,
    "CustomerId" integer not null references music."Customer" on delete cascade,
    "InvoiceDate" timestamp not null,
    "BillingCity" varchar(40),
    "BillingCountry" varchar(40),
    "Total" numeric(10, 2) not null
);

create table music."InvoiceLine" (
    "InvoiceLineId" integer primary key,
    "InvoiceId" integer not null references music."Invoice" on delete cascade,
    "TrackId" integer not null references music."Track" on delete cascade on update cascade,
    "UnitPrice" numeric(10, 2) not null,
    "Quantity" integer not null
);

create table music."Hörbuch" (
    "Nr" integer primary key,
    "Künstler" integer references music."Artist" on delete set null,
    "Länge (min)" integer,
    "gelesen von" text
);

create index on music."Album" ("ArtistId");
create index on music."Track" ("AlbumId");
create index on music."Track" ("GenreId");
create index on music."PlaylistTrack" ("TrackId");
create index on music."Customer" ("SupportRepId");
create index on music."Invoice" ("CustomerId");
create index on music."InvoiceLine" ("InvoiceId");
create index on music."InvoiceLine" ("TrackId");

insert into music."Artist" select n, 'Artist ' || n from generate_series(1, 12) as n;
insert into music."Album" select n, 'Album ' || n, 1 + n % 10 from generate_series(1, 20) as n;
insert into music."Genre" values (1, 'Rock'), (2, 'Jazz'), (3, 'Pop'), (4, 'Opera');
insert into music."MediaType" values (1, 'MPEG'), (2, 'AAC'), (3, 'Video');
insert into music."Track"
select
    n, 'Track ' || n, case when n % 20 <> 0 then 1 + n % 18 end, 1 + n % 3, case when n % 17 <> 0 then 1 + n % 3 end,
    case n % 4 when 0 then null when 1 then 'Ann' when 2 then 'Ann, Bob' else 'Bob, Cy, Dee' end,
    1000 * (120 + n * 7 % 200), 3000000 + n, case when n % 3 = 2 then 1.99 else 0.99 end
from generate_series(1, 80) as n;
insert into music."Playlist" select n, 'Playlist ' || n from generate_series(1, 7) as n;
insert into music."PlaylistTrack"
select distinct 1 + n % 6, 1 + n * n % 47 from generate_series(1, 140) as n;
insert into music."Employee"
select
    n, 'Last' || n, 'First' || n, (array['Manager', 'Sales Support', 'IT'])[1 + n % 3],
    case when n > 1 then n / 2 end, timestamp '2002-01-01' + n * interval '40 days', 'Town ' || n % 3,
    'e' || n || '@music.example'
from generate_series(1, 8) as n;
insert into music."Customer"
select
    n, 'Given' || n, 'Family' || n, case when n % 3 = 0 then 'Company ' || n end, 'Town ' || n % 5, 'Country ' || n % 4,
    'c' || n || '@mail.example', case when n % 7 <> 0 then 3 + n % 3 end
from generate_series(1, 18) as n;
insert into music."Invoice"
select
    n, 1 + n % 15, timestamp '2021-02-01' + n * interval '9 days', 'Town ' || n % 5, 'Country ' || n % 4, 0
from generate_series(1, 60) as n;
insert into music."InvoiceLine"
select n, 1 + n % 60, 1 + (n * 7) % 72, case when n % 5 = 0 then 1.99 else 0.99 end, 1 + n % 2
from generate_series(1, 150) as n;
-- Four invoices are wrong.
update music."Invoice" as i
set "Total" = l.total + case when i."InvoiceId" % 15 = 0 then 1 else 0 end
from (
    select "InvoiceId", sum("UnitPrice" * "Quantity") as total from music."InvoiceLine" group by "InvoiceId"
) as l
where l."InvoiceId" = i."InvoiceId";
insert into music."Hörbuch"
select n, case when n % 4 <> 0 then n end, 60 + n, 'Stimme ' || n % 3 from generate_series(1, 9) as n;
