#!/usr/bin/env bash
# Buys from stampede. Needs bash and curl 7.84 or later.
#
#     BUYER=ann examples/buyer.sh buy ticket      # then: show ticket~…, cancel ticket~…
#
# README.md in this folder describes the server, environment, output and exit codes of all buyers.
set -u

server=${SERVER:-http://127.0.0.1:3005}
patience_s=${PATIENCE_S:-30} # for all attempts together
answer_s=10 pause_max_s=8    # per attempt; between attempts, unless the server asks for more
key=

# Prints the value of a member of the answer.
member() { sed -nE "s/.*\"$1\":(\"([^\"]*)\"|([^\",}]*)).*/\2\3/p" <<<"$answer"; }

# Prints the headers. curl reads them from a pipe, since other users can read its command line.
headers() {
    if [[ $key ]]; then echo "Idempotency-Key: $key"; fi
    if [[ ${TOKEN-} ]]; then
        echo "Authorization: Bearer $TOKEN" # the admission token names the buyer
    elif [[ $key && ${BUYER-} ]]; then
        echo "X-User-Id: $BUYER"
    fi
}

# One attempt, with these arguments for curl. Sets status, answer, outcome (the status of a
# reservation, or a code) and wait_s (from Retry-After). Status 0: no valid answer.
attempt() {
    local reply
    if reply=$(curl -s --max-time "$answer_s" -w '\n%{http_code} %header{retry-after}' \
        -H @<(headers) "$@"); then
        answer=${reply%$'\n'*}
        read -r status wait_s <<<"${reply##*$'\n'}"
        outcome=$(member code)
        outcome=${outcome:-$(member status)}
        if [[ $answer == "{"* ]]; then return; fi
    fi
    status=0 answer={} outcome=unknown wait_s=0
}

# Repeats the request until the outcome is known, for at most patience_s. Sets outcome and answer.
#
# Repeating is safe: a purchase has its key, and the other requests change nothing the second time.
ask() {
    local end=$((SECONDS + patience_s)) pause_s=1 perhaps_done=
    while attempt "$@" && ((status < 200 || status >= 500 || status == 429)); do
        case $outcome in
            busy | unavailable | allowance_exhausted | rate_limited) ;;
            *) perhaps_done=yes ;;
        esac
        if [[ $perhaps_done ]]; then
            outcome=unknown answer='{"detail":"It may have succeeded. Repeat it with the same key."}'
        fi
        [[ $wait_s =~ ^[0-9]{1,6}$ ]] || wait_s=0
        wait_s=$((wait_s > pause_s ? wait_s : pause_s))
        if ((SECONDS + wait_s >= end)); then return; fi
        echo "$outcome: again in $wait_s s" >&2
        sleep "$wait_s.$((RANDOM % 250 + 100))" # spreads the buyers
        pause_s=$((pause_s * 2 < pause_max_s ? pause_s * 2 : pause_max_s))
    done
}

case $#,${1-} in
    2,buy)
        key=${KEY:-$(</proc/sys/kernel/random/uuid)}
        echo "key $key" >&2 # keep it until the outcome is known
        ask "$server/v1/sales/$2/reservations" --json "{\"quantity\":${QUANTITY:-1}}"
        done="held confirmed" ;;
    2,show)
        ask "$server/v1/reservations/$2"
        done="held confirmed cancelled expired refunded" ;;
    2,cancel)
        ask -X POST "$server/v1/reservations/$2/cancel"
        done="cancelled already_cancelled" ;;
    *)
        echo "usage: buyer.sh buy SALE | show ID | cancel ID" >&2
        exit 2 ;;
esac

line=$outcome
for name in id quantity expires_at opens_at limit_per_user free max field detail; do
    value=$(member "$name")
    if [[ $value ]]; then line+="; $name $value"; fi
done
echo "$line"
[[ " $done " == *" $outcome "* ]]
