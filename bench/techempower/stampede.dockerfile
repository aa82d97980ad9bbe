# From the root of the repository: docker build -f bench/techempower/stampede.dockerfile -t stampede .
FROM rust:1.95-bookworm AS build
WORKDIR /stampede
COPY Cargo.toml Cargo.lock ./
COPY bench bench
COPY src src
COPY tests/fuzz tests/fuzz
RUN cargo build --profile shipped --locked -p stampede

FROM debian:bookworm-slim
COPY --from=build /stampede/target/shipped/stampede /usr/local/bin/stampede
EXPOSE 8080
CMD ["stampede", "--listen", "0.0.0.0:8080", "--control", "off", "--ledger", "embedded:/var/lib/stampede"]
