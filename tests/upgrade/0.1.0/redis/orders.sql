--
-- PostgreSQL database dump
--


-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: orders; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.orders (
    reservation text NOT NULL COLLATE pg_catalog."C",
    sale text NOT NULL COLLATE pg_catalog."C",
    user_id text,
    idempotency_key text,
    quantity integer NOT NULL,
    status text NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT orders_quantity_check CHECK ((quantity > 0)),
    CONSTRAINT orders_status_check CHECK ((status = ANY (ARRAY['held'::text, 'confirmed'::text, 'cancelled'::text, 'expired'::text])))
)
WITH (fillfactor='70');


--
-- Name: TABLE orders; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.orders IS 'written by stampede; created_at is when the first change that got here was made';


--
-- Name: stampede_migrations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.stampede_migrations (
    version integer NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: stampede_positions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.stampede_positions (
    source text NOT NULL,
    version bigint NOT NULL
);


--
-- Data for Name: orders; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.orders VALUES ('concert~1of4~39cac5h45t3tz1b7v4fraxadn6', 'concert', 'full first', 'full 2 first', 1, 'held', '2026-11-29 13:23:11.513+00', '2026-11-29 12:23:11.513+00', '2026-11-29 12:23:11.513+00', 1883195301180735488);
INSERT INTO public.orders VALUES ('concert~1of4~5hkhyckkdbeetaat0grgq3ft0c', 'concert', 'eve first', 'key 4 of first', 1, 'held', '2026-11-29 13:23:11.499+00', '2026-11-29 12:23:11.499+00', '2026-11-29 12:23:11.499+00', 1883195301166055424);
INSERT INTO public.orders VALUES ('concert~1of4~6cydrre2npgka8fh3cxr828sre', 'concert', 'full first', 'full 1 first', 2, 'held', '2026-11-29 13:23:11.509+00', '2026-11-29 12:23:11.509+00', '2026-11-29 12:23:11.509+00', 1883195301176541184);
INSERT INTO public.orders VALUES ('concert~1of4~7e14pr5wpqc5q4xr56x9x060rt', 'concert', 'full first', NULL, 1, 'held', '2026-11-29 13:23:11.512+00', '2026-11-29 12:23:11.512+00', '2026-11-29 12:23:11.512+00', 1883195301179686912);
INSERT INTO public.orders VALUES ('concert~2of4~3k61n1cp31ersgfmw4qzgsac4c', 'concert', 'cid first', 'key 2 of first', 1, 'held', '2026-11-29 13:23:11.497+00', '2026-11-29 12:23:11.497+00', '2026-11-29 12:23:11.497+00', 1883195301163958272);
INSERT INTO public.orders VALUES ('concert~4of4~09x33cmrjxvad1tm0fy5e6yp9d', 'concert', 'ann first', 'key 0 of first', 1, 'confirmed', '2026-11-29 13:23:11.475+00', '2026-11-29 12:23:11.525+00', '2026-11-29 12:23:11.525+00', 1883195301193318400);
INSERT INTO public.orders VALUES ('concert~4of4~1wgbrywh83zwpek4myeq0tanpm', 'concert', 'bob first', 'key 1 of first', 2, 'cancelled', '2026-11-29 13:23:11.489+00', '2026-11-29 12:23:11.526+00', '2026-11-29 12:23:11.526+00', 1883195301195415552);
INSERT INTO public.orders VALUES ('concert~4of4~48yv2hwav0b5v9khpxyyekwv20', 'concert', 'Zoë Ünal first', 'key 3 of first', 2, 'confirmed', '2026-11-29 13:23:11.498+00', '2026-11-29 12:23:11.525+00', '2026-11-29 12:23:11.525+00', 1883195301193318401);
INSERT INTO public.orders VALUES ('over~1v3e4beqw0dpe9qmyywmf843fg', 'over', 'Zoë Ünal first', 'key 3 of first', 2, 'confirmed', '2026-11-29 13:23:11.453+00', '2026-11-29 12:23:11.469+00', '2026-11-29 12:23:11.469+00', 1883195301134598144);
INSERT INTO public.orders VALUES ('over~24hxfzc5qb3ve390mh3j9m3edz', 'over', 'full first', 'full 1 first', 2, 'held', '2026-11-29 13:23:11.457+00', '2026-11-29 12:23:11.457+00', '2026-11-29 12:23:11.457+00', 1883195301122015233);
INSERT INTO public.orders VALUES ('over~3s92y7zj8f6808zga43442ndp0', 'over', 'bob first', 'key 1 of first', 2, 'cancelled', '2026-11-29 13:23:11.438+00', '2026-11-29 12:23:11.469+00', '2026-11-29 12:23:11.469+00', 1883195301134598145);
INSERT INTO public.orders VALUES ('over~4bk69f2vnhsgn0dh4ep5vrcqdq', 'over', 'ann first', 'key 0 of first', 1, 'confirmed', '2026-11-29 13:23:11.436+00', '2026-11-29 12:23:11.465+00', '2026-11-29 12:23:11.465+00', 1883195301130403840);
INSERT INTO public.orders VALUES ('over~4n7zhxpxfvkcqszs5v9vtfs4s7', 'over', 'full first', NULL, 1, 'held', '2026-11-29 13:23:11.458+00', '2026-11-29 12:23:11.458+00', '2026-11-29 12:23:11.458+00', 1883195301123063808);
INSERT INTO public.orders VALUES ('over~4yydtp3n5ted5gy66pc023dvg1', 'over', 'eve first', 'key 4 of first', 1, 'held', '2026-11-29 13:23:11.457+00', '2026-11-29 12:23:11.457+00', '2026-11-29 12:23:11.457+00', 1883195301122015232);
INSERT INTO public.orders VALUES ('over~7ew1ehv4fx10k1cj0j7fv95m5p', 'over', 'cid first', 'key 2 of first', 1, 'held', '2026-11-29 13:23:11.441+00', '2026-11-29 12:23:11.441+00', '2026-11-29 12:23:11.441+00', 1883195301105238016);
INSERT INTO public.orders VALUES ('poster~1y7bvttkph1j4dq3wcsfm0cyqd', 'poster', 'bob first', 'key 1 of first', 2, 'cancelled', '2026-11-29 14:23:11.419+00', '2026-11-29 12:23:11.433+00', '2026-11-29 12:23:11.433+00', 1883195301097897984);
INSERT INTO public.orders VALUES ('poster~2s8tb5251vtwdmdrvvqb9123ed', 'poster', 'Zoë Ünal first', 'key 3 of first', 2, 'confirmed', '2026-11-29 14:23:11.42+00', '2026-11-29 12:23:11.432+00', '2026-11-29 12:23:11.432+00', 1883195301096849408);
INSERT INTO public.orders VALUES ('poster~3etdrq3asm46n821w98cg73czr', 'poster', 'cid first', 'key 2 of first', 1, 'held', '2026-11-29 14:23:11.42+00', '2026-11-29 12:23:11.42+00', '2026-11-29 12:23:11.42+00', 1883195301083217920);
INSERT INTO public.orders VALUES ('poster~4wd9559fpdf52xbhq65808z9s0', 'poster', 'full first', NULL, 1, 'held', '2026-11-29 14:23:11.424+00', '2026-11-29 12:23:11.424+00', '2026-11-29 12:23:11.424+00', 1883195301088460800);
INSERT INTO public.orders VALUES ('poster~6hwffj61ndwxpp58jcqre53v1s', 'poster', 'full first', 'full 1 first', 2, 'held', '2026-11-29 14:23:11.422+00', '2026-11-29 12:23:11.422+00', '2026-11-29 12:23:11.422+00', 1883195301085315073);
INSERT INTO public.orders VALUES ('poster~6vk9xm0kwen2c022qfrnvt9rfw', 'poster', 'eve first', 'key 4 of first', 1, 'held', '2026-11-29 14:23:11.421+00', '2026-11-29 12:23:11.421+00', '2026-11-29 12:23:11.421+00', 1883195301085315072);
INSERT INTO public.orders VALUES ('poster~78q1ypgxym0rzcsq4brvjw4795', 'poster', 'ann first', 'key 0 of first', 1, 'confirmed', '2026-11-29 14:23:11.419+00', '2026-11-29 12:23:11.426+00', '2026-11-29 12:23:11.426+00', 1883195301089509376);
INSERT INTO public.orders VALUES ('ticket~0600wt4679818b4hyz45m5m61h', 'ticket', 'eve first', 'key 4 of first', 1, 'held', '2026-11-29 13:23:11.414+00', '2026-11-29 12:23:11.414+00', '2026-11-29 12:23:11.414+00', 1883195301076926465);
INSERT INTO public.orders VALUES ('ticket~0exzc28ngab0mbqd8r0w75whrd', 'ticket', 'bob first', 'key 1 of first', 2, 'confirmed', '2026-11-29 13:23:11.409+00', '2026-11-29 12:23:11.418+00', '2026-11-29 12:23:11.418+00', 1883195301081120768);
INSERT INTO public.orders VALUES ('ticket~1az24s76dfgat0kjgbze53cj5d', 'ticket', 'Zoë Ünal first', 'key 3 of first', 2, 'held', '2026-11-29 13:23:11.414+00', '2026-11-29 12:23:11.414+00', '2026-11-29 12:23:11.414+00', 1883195301076926464);
INSERT INTO public.orders VALUES ('ticket~25da8baz3av8vchhrk3msqh30e', 'ticket', 'full first', 'full 1 first', 2, 'held', '2026-11-29 13:23:11.415+00', '2026-11-29 12:23:11.415+00', '2026-11-29 12:23:11.415+00', 1883195301077975040);
INSERT INTO public.orders VALUES ('ticket~2941hj5572acn7cq1pd4qpd6px', 'ticket', 'cid first', 'key 2 of first', 1, 'held', '2026-11-29 13:23:11.413+00', '2026-11-29 12:23:11.413+00', '2026-11-29 12:23:11.413+00', 1883195301075877888);
INSERT INTO public.orders VALUES ('ticket~3359r6a5f3a22r5fd7nz6p18t7', 'ticket', 'ann first', 'key 0 of first', 1, 'held', '2026-11-29 13:23:11.407+00', '2026-11-29 12:23:11.407+00', '2026-11-29 12:23:11.407+00', 1883195301069586432);
INSERT INTO public.orders VALUES ('ticket~41vt21qqqvnh59gy1jndhdqrvh', 'ticket', NULL, 'anonymous first', 1, 'confirmed', '2026-11-29 13:23:11.387+00', '2026-11-29 12:23:11.417+00', '2026-11-29 12:23:11.417+00', 1883195301080072192);
INSERT INTO public.orders VALUES ('ticket~7799p2cexha8537mr83yqz2bpc', 'ticket', NULL, NULL, 1, 'cancelled', '2026-11-29 13:23:11.388+00', '2026-11-29 12:23:11.418+00', '2026-11-29 12:23:11.418+00', 1883195301081120769);
INSERT INTO public.orders VALUES ('ticket~7aceqyge3d20q0sxc6qtpm7n6b', 'ticket', 'full first', NULL, 1, 'held', '2026-11-29 13:23:11.416+00', '2026-11-29 12:23:11.416+00', '2026-11-29 12:23:11.416+00', 1883195301079023616);
INSERT INTO public.orders VALUES ('concert~2of4~5rvmhy38q1c9argjw0nv559j72', 'concert', 'cid second +0', 'key 2 of second +0', 1, 'held', '2026-11-29 13:23:12.344+00', '2026-11-29 12:23:12.344+00', '2026-11-29 12:23:12.344+00', 1883195302052102144);
INSERT INTO public.orders VALUES ('concert~2of4~6yrr0zzk3axqcv49wjv17nw1fn', 'concert', 'eve second +0', 'key 4 of second +0', 1, 'held', '2026-11-29 13:23:12.346+00', '2026-11-29 12:23:12.346+00', '2026-11-29 12:23:12.346+00', 1883195302054199296);
INSERT INTO public.orders VALUES ('concert~3of4~49f8ecd798f5hanrxkhyr85nx3', 'concert', 'ann second +0', 'key 0 of second +0', 1, 'confirmed', '2026-11-29 13:23:12.343+00', '2026-11-29 12:23:12.35+00', '2026-11-29 12:23:12.35+00', 1883195302058393600);
INSERT INTO public.orders VALUES ('concert~3of4~4hyhaky8rt4bhvhvaxqxw868k0', 'concert', 'bob second +0', 'key 1 of second +0', 2, 'cancelled', '2026-11-29 13:23:12.344+00', '2026-11-29 12:23:12.351+00', '2026-11-29 12:23:12.351+00', 1883195302059442176);
INSERT INTO public.orders VALUES ('concert~3of4~5nym8c62y5s0z6fpfgh2ctrgjc', 'concert', 'Zoë Ünal second +0', 'key 3 of second +0', 2, 'confirmed', '2026-11-29 13:23:12.345+00', '2026-11-29 12:23:12.35+00', '2026-11-29 12:23:12.35+00', 1883195302058393601);
INSERT INTO public.orders VALUES ('concert~4of4~1753xdgvkn21qd3y20g7ky97mz', 'concert', 'full second +0', 'full 1 second +0', 2, 'held', '2026-11-29 13:23:12.347+00', '2026-11-29 12:23:12.347+00', '2026-11-29 12:23:12.347+00', 1883195302055247872);
INSERT INTO public.orders VALUES ('concert~4of4~177g5qca1gs4x39vgj9hmxx3ts', 'concert', 'full second +0', NULL, 1, 'held', '2026-11-29 13:23:12.348+00', '2026-11-29 12:23:12.348+00', '2026-11-29 12:23:12.348+00', 1883195302056296448);
INSERT INTO public.orders VALUES ('concert~4of4~5a46astefa3gba2wrjscv4898r', 'concert', 'full second +0', 'full 2 second +0', 1, 'held', '2026-11-29 13:23:12.349+00', '2026-11-29 12:23:12.349+00', '2026-11-29 12:23:12.349+00', 1883195302057345024);
INSERT INTO public.orders VALUES ('ticket~0x05neamg9ymm06djkjbx7dagr', 'ticket', 'ann second +0', 'key 0 of second +0', 1, 'held', '2026-11-29 13:23:12.332+00', '2026-11-29 12:23:12.332+00', '2026-11-29 12:23:12.332+00', 1883195302039519232);
INSERT INTO public.orders VALUES ('ticket~10ceeb5d7hcj1e2bea9eck8tgn', 'ticket', NULL, 'anonymous second +0', 1, 'confirmed', '2026-11-29 13:23:12.329+00', '2026-11-29 12:23:12.34+00', '2026-11-29 12:23:12.34+00', 1883195302047907840);
INSERT INTO public.orders VALUES ('ticket~18bacmxz7cpcxv09af6wchf5h7', 'ticket', 'eve second +0', 'key 4 of second +0', 1, 'held', '2026-11-29 13:23:12.337+00', '2026-11-29 12:23:12.337+00', '2026-11-29 12:23:12.337+00', 1883195302044762112);
INSERT INTO public.orders VALUES ('ticket~21018nr9bj5yz5sq2pvtmcagnr', 'ticket', 'cid second +0', 'key 2 of second +0', 1, 'held', '2026-11-29 13:23:12.335+00', '2026-11-29 12:23:12.335+00', '2026-11-29 12:23:12.335+00', 1883195302042664960);
INSERT INTO public.orders VALUES ('ticket~2q220fyztf4z03gh23t9y0gjvn', 'ticket', 'Zoë Ünal second +0', 'key 3 of second +0', 2, 'held', '2026-11-29 13:23:12.336+00', '2026-11-29 12:23:12.336+00', '2026-11-29 12:23:12.336+00', 1883195302043713536);
INSERT INTO public.orders VALUES ('ticket~4q3we3x41d4m043jnrvtj2j0jw', 'ticket', 'full second +0', NULL, 1, 'held', '2026-11-29 13:23:12.338+00', '2026-11-29 12:23:12.338+00', '2026-11-29 12:23:12.338+00', 1883195302045810689);
INSERT INTO public.orders VALUES ('ticket~6m4x94xdv1ytthz43y2tnsmt1v', 'ticket', 'full second +0', 'full 1 second +0', 2, 'held', '2026-11-29 13:23:12.338+00', '2026-11-29 12:23:12.338+00', '2026-11-29 12:23:12.338+00', 1883195302045810688);
INSERT INTO public.orders VALUES ('ticket~6xdj6sbyfryghvbn53vmp31v70', 'ticket', 'bob second +0', 'key 1 of second +0', 2, 'confirmed', '2026-11-29 13:23:12.333+00', '2026-11-29 12:23:12.341+00', '2026-11-29 12:23:12.341+00', 1883195302048956416);
INSERT INTO public.orders VALUES ('ticket~7vqdt5t3k1hzay2d5amyb6eqev', 'ticket', NULL, NULL, 1, 'cancelled', '2026-11-29 13:23:12.331+00', '2026-11-29 12:23:12.342+00', '2026-11-29 12:23:12.342+00', 1883195302050004992);
INSERT INTO public.orders VALUES ('concert~2of4~1zry3a0fdwj1jr5mvrkahd3gfj', 'concert', 'cid second +120', 'key 2 of second +120', 1, 'held', '2026-11-29 13:25:12.708+00', '2026-11-29 12:25:12.708+00', '2026-11-29 12:25:12.708+00', 1883195428262903808);
INSERT INTO public.orders VALUES ('concert~2of4~7phwt65jjt21w59s5z0md9s406', 'concert', 'Zoë Ünal second +120', 'key 3 of second +120', 2, 'confirmed', '2026-11-29 13:25:12.715+00', '2026-11-29 12:25:12.734+00', '2026-11-29 12:25:12.734+00', 1883195428290166784);
INSERT INTO public.orders VALUES ('concert~3of4~315m7mwc032acvd87hm9jeq9yf', 'concert', 'ann second +120', 'key 0 of second +120', 1, 'confirmed', '2026-11-29 13:25:12.707+00', '2026-11-29 12:25:12.733+00', '2026-11-29 12:25:12.733+00', 1883195428289118208);
INSERT INTO public.orders VALUES ('concert~3of4~3ea09bh00n2p65penbfv6hbzq7', 'concert', 'full second +120', NULL, 1, 'held', '2026-11-29 13:25:12.72+00', '2026-11-29 12:25:12.72+00', '2026-11-29 12:25:12.72+00', 1883195428276535296);
INSERT INTO public.orders VALUES ('concert~3of4~3g08pp2bdbnkcxym2fdz72nyd9', 'concert', 'bob second +120', 'key 1 of second +120', 2, 'cancelled', '2026-11-29 13:25:12.708+00', '2026-11-29 12:25:12.737+00', '2026-11-29 12:25:12.737+00', 1883195428293312512);
INSERT INTO public.orders VALUES ('concert~3of4~5ncek53b7ptg94v0992f94pbx0', 'concert', 'full second +120', 'full 1 second +120', 2, 'held', '2026-11-29 13:25:12.718+00', '2026-11-29 12:25:12.718+00', '2026-11-29 12:25:12.718+00', 1883195428273389568);
INSERT INTO public.orders VALUES ('concert~3of4~6pc7jt06pf3fmax8gwz82zzecb', 'concert', 'full second +120', 'full 2 second +120', 1, 'held', '2026-11-29 13:25:12.729+00', '2026-11-29 12:25:12.729+00', '2026-11-29 12:25:12.729+00', 1883195428284923904);
INSERT INTO public.orders VALUES ('concert~3of4~76etq0fzx9rxw3sggawdr1j7w3', 'concert', 'eve second +120', 'key 4 of second +120', 1, 'held', '2026-11-29 13:25:12.715+00', '2026-11-29 12:25:12.715+00', '2026-11-29 12:25:12.715+00', 1883195428270243840);
INSERT INTO public.orders VALUES ('ticket~0e6ntms3f4zdr63rs6dgsfeyqy', 'ticket', 'bob second +120', 'key 1 of second +120', 2, 'confirmed', '2026-11-29 13:25:12.68+00', '2026-11-29 12:25:12.699+00', '2026-11-29 12:25:12.699+00', 1883195428253466624);
INSERT INTO public.orders VALUES ('ticket~3pzxr2r7a0fecrm64233sjb8a4', 'ticket', 'ann second +120', 'key 0 of second +120', 1, 'held', '2026-11-29 13:25:12.679+00', '2026-11-29 12:25:12.679+00', '2026-11-29 12:25:12.679+00', 1883195428232495104);
INSERT INTO public.orders VALUES ('ticket~4kkgrqcqe9fd19gvmg5qpxpv1x', 'ticket', NULL, 'anonymous second +120', 1, 'confirmed', '2026-11-29 13:25:12.674+00', '2026-11-29 12:25:12.695+00', '2026-11-29 12:25:12.695+00', 1883195428249272320);
INSERT INTO public.orders VALUES ('ticket~522k59yrwhx43n1s9nt7f0gw0c', 'ticket', 'cid second +120', 'key 2 of second +120', 1, 'held', '2026-11-29 13:25:12.689+00', '2026-11-29 12:25:12.689+00', '2026-11-29 12:25:12.689+00', 1883195428242980864);
INSERT INTO public.orders VALUES ('ticket~5h56cxv1ffj6aa16jrk74yfa62', 'ticket', 'full second +120', NULL, 1, 'held', '2026-11-29 13:25:12.694+00', '2026-11-29 12:25:12.694+00', '2026-11-29 12:25:12.694+00', 1883195428248223746);
INSERT INTO public.orders VALUES ('ticket~5j6nehz2z1bt8kj7z18j6g5vc2', 'ticket', 'eve second +120', 'key 4 of second +120', 1, 'held', '2026-11-29 13:25:12.694+00', '2026-11-29 12:25:12.694+00', '2026-11-29 12:25:12.694+00', 1883195428248223744);
INSERT INTO public.orders VALUES ('ticket~5nr74jns6ds0c5da7n2gvc0hv2', 'ticket', 'Zoë Ünal second +120', 'key 3 of second +120', 2, 'held', '2026-11-29 13:25:12.693+00', '2026-11-29 12:25:12.693+00', '2026-11-29 12:25:12.693+00', 1883195428247175168);
INSERT INTO public.orders VALUES ('ticket~6zehs45z41p8tbwzrd40710qbp', 'ticket', NULL, NULL, 1, 'cancelled', '2026-11-29 13:25:12.677+00', '2026-11-29 12:25:12.705+00', '2026-11-29 12:25:12.705+00', 1883195428259758080);
INSERT INTO public.orders VALUES ('ticket~776kdg34wdrs2x7dpcysk8rdw2', 'ticket', 'full second +120', 'full 1 second +120', 2, 'held', '2026-11-29 13:25:12.694+00', '2026-11-29 12:25:12.694+00', '2026-11-29 12:25:12.694+00', 1883195428248223745);
INSERT INTO public.orders VALUES ('ticket~05tjn65gbywpwnep92vq7k3rxw', 'ticket', 'Zoë Ünal before they die', 'key 3 of before they die', 2, 'held', '2026-11-29 13:25:13.091+00', '2026-11-29 12:25:13.091+00', '2026-11-29 12:25:13.091+00', 1883195428664508416);
INSERT INTO public.orders VALUES ('ticket~0cyvh2cz90qfq5qgf3xv4f4yb1', 'ticket', NULL, 'anonymous before they die', 1, 'confirmed', '2026-11-29 13:25:13.033+00', '2026-11-29 12:25:13.112+00', '2026-11-29 12:25:13.112+00', 1883195428686528512);
INSERT INTO public.orders VALUES ('ticket~0h4pxewtxsst2rnkt2v49q2x14', 'ticket', 'cid before they die', 'key 2 of before they die', 1, 'held', '2026-11-29 13:25:13.089+00', '2026-11-29 12:25:13.089+00', '2026-11-29 12:25:13.089+00', 1883195428662411264);
INSERT INTO public.orders VALUES ('ticket~0p9h984wdvd2m40qsf0z31qscp', 'ticket', 'full before they die', NULL, 1, 'held', '2026-11-29 13:25:13.109+00', '2026-11-29 12:25:13.109+00', '2026-11-29 12:25:13.109+00', 1883195428683382784);
INSERT INTO public.orders VALUES ('ticket~111n65c525xv4ny7cewc5y74kk', 'ticket', NULL, NULL, 1, 'cancelled', '2026-11-29 13:25:13.062+00', '2026-11-29 12:25:13.125+00', '2026-11-29 12:25:13.125+00', 1883195428700160000);
INSERT INTO public.orders VALUES ('ticket~3zxtdvbv4dycgakt48h77xepbc', 'ticket', 'ann before they die', 'key 0 of before they die', 1, 'held', '2026-11-29 13:25:13.069+00', '2026-11-29 12:25:13.069+00', '2026-11-29 12:25:13.069+00', 1883195428641439744);
INSERT INTO public.orders VALUES ('ticket~50a14mm41a9htwcppb2xnjrqwt', 'ticket', 'bob before they die', 'key 1 of before they die', 2, 'confirmed', '2026-11-29 13:25:13.07+00', '2026-11-29 12:25:13.116+00', '2026-11-29 12:25:13.116+00', 1883195428691771392);
INSERT INTO public.orders VALUES ('ticket~5yp54pj4br03x18zx0pamsz8j1', 'ticket', 'eve before they die', 'key 4 of before they die', 1, 'held', '2026-11-29 13:25:13.092+00', '2026-11-29 12:25:13.092+00', '2026-11-29 12:25:13.092+00', 1883195428665556992);
INSERT INTO public.orders VALUES ('ticket~6ftgyrj05gbkb54kpdvq4e94n5', 'ticket', 'full before they die', 'full 1 before they die', 2, 'held', '2026-11-29 13:25:13.099+00', '2026-11-29 12:25:13.099+00', '2026-11-29 12:25:13.099+00', 1883195428672897024);


--
-- Data for Name: stampede_migrations; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.stampede_migrations VALUES (1, '2026-11-29 12:23:11.588847+00');


--
-- Data for Name: stampede_positions; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Name: orders orders_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_pkey PRIMARY KEY (reservation);


--
-- Name: stampede_migrations stampede_migrations_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.stampede_migrations
    ADD CONSTRAINT stampede_migrations_pkey PRIMARY KEY (version);


--
-- Name: stampede_positions stampede_positions_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.stampede_positions
    ADD CONSTRAINT stampede_positions_pkey PRIMARY KEY (source);


--
-- Name: orders_sale; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX orders_sale ON public.orders USING btree (sale);


--
-- Name: orders_user_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX orders_user_id ON public.orders USING btree (user_id) WHERE (user_id IS NOT NULL);


--
-- PostgreSQL database dump complete
--


