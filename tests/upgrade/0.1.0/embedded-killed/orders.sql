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

INSERT INTO public.orders VALUES ('over~0zy9d3fcd4vyyz84dnf034y2av', 'over', 'eve first', 'key 4 of first', 1, 'held', '2026-11-29 13:23:29.501+00', '2026-11-29 12:23:29.501+00', '2026-11-29 12:23:29.501+00', 28);
INSERT INTO public.orders VALUES ('over~3yvhmrp1gnttwt6k9zs3s6kt0a', 'over', 'Zoë Ünal first', 'key 3 of first', 2, 'confirmed', '2026-11-29 13:23:29.489+00', '2026-11-29 12:23:29.525+00', '2026-11-29 12:23:29.525+00', 32);
INSERT INTO public.orders VALUES ('over~508rq8fbet4nrt273zf6xxh0zn', 'over', 'ann first', 'key 0 of first', 1, 'confirmed', '2026-11-29 13:23:29.475+00', '2026-11-29 12:23:29.519+00', '2026-11-29 12:23:29.519+00', 31);
INSERT INTO public.orders VALUES ('over~5x5zt52bw5qxhw9easat5xn2d2', 'over', 'full first', NULL, 1, 'held', '2026-11-29 13:23:29.517+00', '2026-11-29 12:23:29.517+00', '2026-11-29 12:23:29.517+00', 30);
INSERT INTO public.orders VALUES ('over~6fxd7marnr7ezv95wfcw37v3x2', 'over', 'full first', 'full 1 first', 2, 'held', '2026-11-29 13:23:29.509+00', '2026-11-29 12:23:29.509+00', '2026-11-29 12:23:29.509+00', 29);
INSERT INTO public.orders VALUES ('over~7fw8nbyhqrnss1bt08wvm2mc0r', 'over', 'bob first', 'key 1 of first', 2, 'cancelled', '2026-11-29 13:23:29.477+00', '2026-11-29 12:23:29.526+00', '2026-11-29 12:23:29.526+00', 33);
INSERT INTO public.orders VALUES ('over~7ght2qp3ssyjz6ksd9yge5jzs7', 'over', 'cid first', 'key 2 of first', 1, 'held', '2026-11-29 13:23:29.479+00', '2026-11-29 12:23:29.479+00', '2026-11-29 12:23:29.479+00', 26);
INSERT INTO public.orders VALUES ('poster~008b6gxmghp0xbrkrqk8rehdtd', 'poster', 'ann first', 'key 0 of first', 1, 'confirmed', '2026-11-29 14:23:29.441+00', '2026-11-29 12:23:29.473+00', '2026-11-29 12:23:29.473+00', 21);
INSERT INTO public.orders VALUES ('poster~1fnce6j83xwhssm81ysc9hye5w', 'poster', 'bob second', 'key 1 of second', 2, 'cancelled', '2026-11-29 14:23:29.816+00', '2026-11-29 12:23:29.837+00', '2026-11-29 12:23:29.837+00', 56);
INSERT INTO public.orders VALUES ('poster~1rx0paamce452dbfwgy3xp3tbk', 'poster', 'full second', 'full 1 second', 2, 'held', '2026-11-29 14:23:29.823+00', '2026-11-29 12:23:29.823+00', '2026-11-29 12:23:29.823+00', 52);
INSERT INTO public.orders VALUES ('poster~2b5fzd90f3xybczhb1bg7cczs4', 'poster', 'full first', NULL, 1, 'held', '2026-11-29 14:23:29.47+00', '2026-11-29 12:23:29.47+00', '2026-11-29 12:23:29.47+00', 20);
INSERT INTO public.orders VALUES ('poster~34bcy52p2f39403qtncwmbrx7e', 'poster', 'cid second', 'key 2 of second', 1, 'held', '2026-11-29 14:23:29.817+00', '2026-11-29 12:23:29.817+00', '2026-11-29 12:23:29.817+00', 49);
INSERT INTO public.orders VALUES ('poster~3jas4as78c5xakrz031ndrnx3j', 'poster', 'bob first', 'key 1 of first', 2, 'cancelled', '2026-11-29 14:23:29.445+00', '2026-11-29 12:23:29.474+00', '2026-11-29 12:23:29.474+00', 23);
INSERT INTO public.orders VALUES ('poster~3nef865xnrkna4farcfb20ncfg', 'poster', 'full first', 'full 1 first', 2, 'held', '2026-11-29 14:23:29.47+00', '2026-11-29 12:23:29.47+00', '2026-11-29 12:23:29.47+00', 19);
INSERT INTO public.orders VALUES ('poster~47e5x7qksmncwkwtngtjnvyp5s', 'poster', 'ann second', 'key 0 of second', 1, 'confirmed', '2026-11-29 14:23:29.815+00', '2026-11-29 12:23:29.826+00', '2026-11-29 12:23:29.826+00', 54);
INSERT INTO public.orders VALUES ('poster~47xwmkzsekpxfwdkg571w1vjfa', 'poster', 'Zoë Ünal first', 'key 3 of first', 2, 'confirmed', '2026-11-29 14:23:29.465+00', '2026-11-29 12:23:29.474+00', '2026-11-29 12:23:29.474+00', 22);
INSERT INTO public.orders VALUES ('poster~4fzy2gk42cebffb9knzgr2hnz5', 'poster', 'full second', NULL, 1, 'held', '2026-11-29 14:23:29.824+00', '2026-11-29 12:23:29.824+00', '2026-11-29 12:23:29.824+00', 53);
INSERT INTO public.orders VALUES ('poster~5m9c1fvh99qp51hjr1se2xw94q', 'poster', 'cid first', 'key 2 of first', 1, 'held', '2026-11-29 14:23:29.457+00', '2026-11-29 12:23:29.457+00', '2026-11-29 12:23:29.457+00', 16);
INSERT INTO public.orders VALUES ('poster~5mbraknapkmrqz5cre6q0z7bmj', 'poster', 'eve first', 'key 4 of first', 1, 'held', '2026-11-29 14:23:29.469+00', '2026-11-29 12:23:29.469+00', '2026-11-29 12:23:29.469+00', 18);
INSERT INTO public.orders VALUES ('poster~6hfa5pw7q2bba4cdn92ndw1ma1', 'poster', 'Zoë Ünal second', 'key 3 of second', 2, 'confirmed', '2026-11-29 14:23:29.821+00', '2026-11-29 12:23:29.828+00', '2026-11-29 12:23:29.828+00', 55);
INSERT INTO public.orders VALUES ('poster~7sqyj8kgeb1m6f03xktpmt242f', 'poster', 'eve second', 'key 4 of second', 1, 'held', '2026-11-29 14:23:29.822+00', '2026-11-29 12:23:29.822+00', '2026-11-29 12:23:29.822+00', 51);
INSERT INTO public.orders VALUES ('ticket~0np686w167zzgfqgps3y356ns3', 'ticket', 'cid first', 'key 2 of first', 1, 'held', '2026-11-29 13:23:29.369+00', '2026-11-29 12:23:29.369+00', '2026-11-29 12:23:29.369+00', 6);
INSERT INTO public.orders VALUES ('ticket~0yn7cjy7hfx42xqt513854w87v', 'ticket', NULL, 'anonymous second', 1, 'confirmed', '2026-11-29 13:23:29.735+00', '2026-11-29 12:23:29.808+00', '2026-11-29 12:23:29.808+00', 44);
INSERT INTO public.orders VALUES ('ticket~18k2k6gjw0qbk5c7t2e0tyf78a', 'ticket', NULL, 'anonymous first', 1, 'confirmed', '2026-11-29 13:23:29.298+00', '2026-11-29 12:23:29.419+00', '2026-11-29 12:23:29.419+00', 11);
INSERT INTO public.orders VALUES ('ticket~2p566w8t3pks5gx7p8gryj05bt', 'ticket', NULL, NULL, 1, 'cancelled', '2026-11-29 13:23:29.742+00', '2026-11-29 12:23:29.814+00', '2026-11-29 12:23:29.814+00', 46);
INSERT INTO public.orders VALUES ('ticket~30pm19x0x22vdw480vmjygemc1', 'ticket', 'full second', 'full 1 second', 2, 'held', '2026-11-29 13:23:29.801+00', '2026-11-29 12:23:29.801+00', '2026-11-29 12:23:29.801+00', 42);
INSERT INTO public.orders VALUES ('ticket~38rjx0bgjgxy1ekk372gacsyp9', 'ticket', 'eve first', 'key 4 of first', 1, 'held', '2026-11-29 13:23:29.391+00', '2026-11-29 12:23:29.391+00', '2026-11-29 12:23:29.391+00', 8);
INSERT INTO public.orders VALUES ('ticket~3az4hs758azqrs60x3yb754023', 'ticket', 'Zoë Ünal first', 'key 3 of first', 2, 'held', '2026-11-29 13:23:29.389+00', '2026-11-29 12:23:29.389+00', '2026-11-29 12:23:29.389+00', 7);
INSERT INTO public.orders VALUES ('ticket~3hqgf6g8qqb3tkwar8nrsbkn3x', 'ticket', 'Zoë Ünal second', 'key 3 of second', 2, 'held', '2026-11-29 13:23:29.779+00', '2026-11-29 12:23:29.779+00', '2026-11-29 12:23:29.779+00', 40);
INSERT INTO public.orders VALUES ('ticket~3s46pj1y496v09kztafdrvxm78', 'ticket', NULL, NULL, 1, 'cancelled', '2026-11-29 13:23:29.318+00', '2026-11-29 12:23:29.441+00', '2026-11-29 12:23:29.441+00', 13);
INSERT INTO public.orders VALUES ('ticket~3wx8hyfys8fv2529kwxj0pcc8r', 'ticket', 'cid second', 'key 2 of second', 1, 'held', '2026-11-29 13:23:29.77+00', '2026-11-29 12:23:29.77+00', '2026-11-29 12:23:29.77+00', 39);
INSERT INTO public.orders VALUES ('ticket~4bxb7qb1kge4xjwada7xtbysvz', 'ticket', 'eve second', 'key 4 of second', 1, 'held', '2026-11-29 13:23:29.795+00', '2026-11-29 12:23:29.795+00', '2026-11-29 12:23:29.795+00', 41);
INSERT INTO public.orders VALUES ('ticket~5pjhgajty5s3q9vtd4aannj72r', 'ticket', 'bob first', 'key 1 of first', 2, 'confirmed', '2026-11-29 13:23:29.353+00', '2026-11-29 12:23:29.437+00', '2026-11-29 12:23:29.437+00', 12);
INSERT INTO public.orders VALUES ('ticket~67xg3vef8mbf5rf4g8sfgk205a', 'ticket', 'full first', 'full 1 first', 2, 'held', '2026-11-29 13:23:29.396+00', '2026-11-29 12:23:29.396+00', '2026-11-29 12:23:29.396+00', 9);
INSERT INTO public.orders VALUES ('ticket~67y0dfjm6dwf0jsekrm9z9rfwp', 'ticket', 'full second', NULL, 1, 'held', '2026-11-29 13:23:29.805+00', '2026-11-29 12:23:29.805+00', '2026-11-29 12:23:29.805+00', 43);
INSERT INTO public.orders VALUES ('ticket~6jv203q1xm2hgqkr19039w2yyd', 'ticket', 'full first', NULL, 1, 'held', '2026-11-29 13:23:29.405+00', '2026-11-29 12:23:29.405+00', '2026-11-29 12:23:29.405+00', 10);
INSERT INTO public.orders VALUES ('ticket~7hd01qcs8aj9ptdbh0xdpg704m', 'ticket', 'bob second', 'key 1 of second', 2, 'confirmed', '2026-11-29 13:23:29.761+00', '2026-11-29 12:23:29.812+00', '2026-11-29 12:23:29.812+00', 45);
INSERT INTO public.orders VALUES ('ticket~7k7v330mqp51m4tde9zbqczmm8', 'ticket', 'ann second', 'key 0 of second', 1, 'held', '2026-11-29 13:23:29.748+00', '2026-11-29 12:23:29.748+00', '2026-11-29 12:23:29.748+00', 37);
INSERT INTO public.orders VALUES ('ticket~7m9pcbwe2c0cajvgx6v4s1vgc5', 'ticket', 'ann first', 'key 0 of first', 1, 'held', '2026-11-29 13:23:29.334+00', '2026-11-29 12:23:29.334+00', '2026-11-29 12:23:29.334+00', 4);


--
-- Data for Name: stampede_migrations; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.stampede_migrations VALUES (1, '2026-11-29 12:23:29.73935+00');


--
-- Data for Name: stampede_positions; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.stampede_positions VALUES ('embedded:3c259c40ebe3f48a11b87fe7feaa3f44', 56);


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


