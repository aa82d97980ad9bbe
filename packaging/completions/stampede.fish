# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_stampede_global_optspecs
    string join \n config= listen= tls-cert= tls-key= tls-ticket-keys= control= control-token-file= read-token-file= cores= connections-max= connections-per-address= trusted-proxies= proxy-protocol= shop-token-file= cors-origins= public-confirm= forwarded-header= admission-keys= admission-audience= rate-per-user= rate-per-address= ledger= redis-ca= redis-cert= redis-key= redis-counters-key= redis-total-field= redis-sold-field= redis-wait= redis-sentinel-user= orders= webhook-state= webhook-secret-file= webhook-ca= restored-ledger= sale= splits= stock= stock-buffer= instance= stat-log= log= log-format= drain-delay= drain-timeout= idle-timeout= head-timeout= body-timeout= write-timeout= ledger-timeout= waiting-max= h/help V/version
end

function __fish_stampede_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_stampede_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_stampede_using_subcommand
    set -l cmd (__fish_stampede_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c stampede -n "__fish_stampede_needs_command" -l config -d 'Read settings from this TOML file' -r
complete -c stampede -n "__fish_stampede_needs_command" -l listen -d 'Serve buyers on this address (repeatable) [default: 0.0.0.0:3005]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l tls-cert -d 'Present the certificate in this PEM file to TLS clients (repeatable, each with a --tls-key)' -r
complete -c stampede -n "__fish_stampede_needs_command" -l tls-key -d 'Private key of the certificate, a PEM file without a password (repeatable)' -r
complete -c stampede -n "__fish_stampede_needs_command" -l tls-ticket-keys -d 'Read the keys of TLS session tickets from this file [default: random keys]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l control -d 'Serve operators on this address, or `off` [default: 127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l control-token-file -d 'Require the token in this file from clients of the control port [default: none]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l read-token-file -d 'Accept the token in this file for read-only access to the control port [default: none]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l cores -d 'Run one worker on each of these processor cores, e.g. 0-3,6 [default: all allowed]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l connections-max -d 'Maximum connections [default: from the open file limit]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l connections-per-address -d 'Maximum connections per client address, or off [default: off]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l trusted-proxies -d 'Networks of the proxies in front of stampede, e.g. 10.0.0.0/8 [default: none]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l proxy-protocol -d 'Read the client address from the PROXY protocol of trusted proxies, or `off` [default: off]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l shop-token-file -d 'Accept the token in this file as the shop\'s back end, at both ports [default: none]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l cors-origins -d 'Let web pages of these origins read responses of the public port [default: none]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l public-confirm -d 'Let buyers confirm reservations at the public port, or `off` [default: off]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l forwarded-header -d 'Header in which trusted proxies report the client address [default: x-forwarded-for]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l admission-keys -d 'Require a token signed by a key in this file from buyers [default: none]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l admission-audience -d 'Require this `aud` in those tokens [default: stampede]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l rate-per-user -d 'Maximum purchases per second per user, or off [default: off]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l rate-per-address -d 'Maximum purchases per second per client address, or off [default: off]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l ledger -d 'Keep stock and reservations in this ledger [default: embedded:./stampede-data]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l redis-ca -d 'Trust the certificate authorities in this PEM file for rediss:// [default: the system\'s]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l redis-cert -d 'Present the certificate in this PEM file to Redis, for rediss:// [default: none]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l redis-key -d 'Private key of --redis-cert, a PEM file without a password [default: none]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l redis-counters-key -d 'Redis key of the hash with a sale\'s counters [default: {sale}_hash_key]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l redis-total-field -d 'Field of the total in that hash [default: {sale}_total_nums]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l redis-sold-field -d 'Field of the units sold (held or confirmed) in that hash [default: {sale}_sold_nums]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l redis-wait -d 'Acknowledge a purchase only after this many replicas have received it [default: 0]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l redis-sentinel-user -d 'User name at the Sentinels of a redis-sentinel:// ledger [default: their default user]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l orders -d 'Write an order for each reservation to this database [default: none]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l webhook-state -d 'With --orders https://…: keep undelivered webhooks in this file [default: none]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l webhook-secret-file -d 'With --orders https://…: sign with the secrets in this file, one whsec_… per line [default: none]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l webhook-ca -d 'With --orders https://…: trust the authorities in this PEM file [default: the system\'s]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l restored-ledger -d 'Sell from the restored embedded ledger with this id [default: none]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l sale -d 'Create this sale if it is missing (repeatable) [default: ticket=10000 if embedded]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l splits -d 'Split each new sale into this many parts, for several Redis nodes [default: 1]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l stock -d 'Sell at most this many units of each sale from this instance, or `auto` [default: auto]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l stock-buffer -d 'With --stock auto, allow this much more than the fair share [default: 50%]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l instance -d 'Name of this instance among those that share a ledger [default: host name and port]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l stat-log -d 'Append a line per purchase attempt to this file [default: none]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l log -d 'Log level of standard error [default: info]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l log-format -d 'Log format: text, json or journal [default: text, or journal under systemd]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l drain-delay -d 'On a signal to stop, keep serving for this long first [default: 0s]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l drain-timeout -d 'On a signal to stop, finish open requests for at most this long [default: 30s]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l idle-timeout -d 'Close a connection that sends no request for this long [default: 75s]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l head-timeout -d 'Return 408 if the head of a request is incomplete after this time [default: 10s]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l body-timeout -d 'Return 408 if the body of a request is incomplete after this time [default: 10s]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l write-timeout -d 'Close a connection whose client reads no response for this long [default: 10s]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l ledger-timeout -d 'Return `unknown` if the ledger has not answered after this time [default: 2s]' -r
complete -c stampede -n "__fish_stampede_needs_command" -l waiting-max -d 'Maximum purchases per core waiting for the ledger [default: one per connection]' -r
complete -c stampede -n "__fish_stampede_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_needs_command" -s V -l version -d 'Print version'
complete -c stampede -n "__fish_stampede_needs_command" -f -a "serve" -d 'Run the server (the default: the word may be left out)'
complete -c stampede -n "__fish_stampede_needs_command" -f -a "check-config" -d 'Check every setting, print them all with their sources, and exit'
complete -c stampede -n "__fish_stampede_needs_command" -f -a "demo" -d 'Demonstrate stampede: a sale, a crowd, a live page and a page for buyers'
complete -c stampede -n "__fish_stampede_needs_command" -f -a "orders" -d 'Write an order per reservation from Redis to a database, or send webhooks'
complete -c stampede -n "__fish_stampede_needs_command" -f -a "sale" -d 'Create, open, close, change, show, list, archive and remove sales'
complete -c stampede -n "__fish_stampede_needs_command" -f -a "reservation" -d 'Show, confirm, extend, cancel and refund reservations'
complete -c stampede -n "__fish_stampede_needs_command" -f -a "instances" -d 'List the servers that share a ledger'
complete -c stampede -n "__fish_stampede_needs_command" -f -a "audit" -d 'Compare counts, reservations, order stream and orders, and repair differences'
complete -c stampede -n "__fish_stampede_needs_command" -f -a "backup" -d 'Back up an embedded ledger while a server sells from it'
complete -c stampede -n "__fish_stampede_needs_command" -f -a "restore" -d 'Restore an embedded ledger from a backup'
complete -c stampede -n "__fish_stampede_needs_command" -f -a "move" -d 'Move closed sales from an embedded ledger to Redis'
complete -c stampede -n "__fish_stampede_needs_command" -f -a "token" -d 'Create a token that lets a user buy, or a key for tokens'
complete -c stampede -n "__fish_stampede_needs_command" -f -a "completions" -d 'Print the completions of this command line for a shell'
complete -c stampede -n "__fish_stampede_needs_command" -f -a "man" -d 'Write the man pages to a folder'
complete -c stampede -n "__fish_stampede_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l config -d 'Read settings from this TOML file' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l listen -d 'Serve buyers on this address (repeatable) [default: 0.0.0.0:3005]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l tls-cert -d 'Present the certificate in this PEM file to TLS clients (repeatable, each with a --tls-key)' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l tls-key -d 'Private key of the certificate, a PEM file without a password (repeatable)' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l tls-ticket-keys -d 'Read the keys of TLS session tickets from this file [default: random keys]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l control -d 'Serve operators on this address, or `off` [default: 127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l control-token-file -d 'Require the token in this file from clients of the control port [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l read-token-file -d 'Accept the token in this file for read-only access to the control port [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l cores -d 'Run one worker on each of these processor cores, e.g. 0-3,6 [default: all allowed]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l connections-max -d 'Maximum connections [default: from the open file limit]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l connections-per-address -d 'Maximum connections per client address, or off [default: off]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l trusted-proxies -d 'Networks of the proxies in front of stampede, e.g. 10.0.0.0/8 [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l proxy-protocol -d 'Read the client address from the PROXY protocol of trusted proxies, or `off` [default: off]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l shop-token-file -d 'Accept the token in this file as the shop\'s back end, at both ports [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l cors-origins -d 'Let web pages of these origins read responses of the public port [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l public-confirm -d 'Let buyers confirm reservations at the public port, or `off` [default: off]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l forwarded-header -d 'Header in which trusted proxies report the client address [default: x-forwarded-for]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l admission-keys -d 'Require a token signed by a key in this file from buyers [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l admission-audience -d 'Require this `aud` in those tokens [default: stampede]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l rate-per-user -d 'Maximum purchases per second per user, or off [default: off]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l rate-per-address -d 'Maximum purchases per second per client address, or off [default: off]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l ledger -d 'Keep stock and reservations in this ledger [default: embedded:./stampede-data]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l redis-ca -d 'Trust the certificate authorities in this PEM file for rediss:// [default: the system\'s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l redis-cert -d 'Present the certificate in this PEM file to Redis, for rediss:// [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l redis-key -d 'Private key of --redis-cert, a PEM file without a password [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l redis-counters-key -d 'Redis key of the hash with a sale\'s counters [default: {sale}_hash_key]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l redis-total-field -d 'Field of the total in that hash [default: {sale}_total_nums]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l redis-sold-field -d 'Field of the units sold (held or confirmed) in that hash [default: {sale}_sold_nums]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l redis-wait -d 'Acknowledge a purchase only after this many replicas have received it [default: 0]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l redis-sentinel-user -d 'User name at the Sentinels of a redis-sentinel:// ledger [default: their default user]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l orders -d 'Write an order for each reservation to this database [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l webhook-state -d 'With --orders https://…: keep undelivered webhooks in this file [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l webhook-secret-file -d 'With --orders https://…: sign with the secrets in this file, one whsec_… per line [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l webhook-ca -d 'With --orders https://…: trust the authorities in this PEM file [default: the system\'s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l restored-ledger -d 'Sell from the restored embedded ledger with this id [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l sale -d 'Create this sale if it is missing (repeatable) [default: ticket=10000 if embedded]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l splits -d 'Split each new sale into this many parts, for several Redis nodes [default: 1]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l stock -d 'Sell at most this many units of each sale from this instance, or `auto` [default: auto]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l stock-buffer -d 'With --stock auto, allow this much more than the fair share [default: 50%]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l instance -d 'Name of this instance among those that share a ledger [default: host name and port]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l stat-log -d 'Append a line per purchase attempt to this file [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l log -d 'Log level of standard error [default: info]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l log-format -d 'Log format: text, json or journal [default: text, or journal under systemd]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l drain-delay -d 'On a signal to stop, keep serving for this long first [default: 0s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l drain-timeout -d 'On a signal to stop, finish open requests for at most this long [default: 30s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l idle-timeout -d 'Close a connection that sends no request for this long [default: 75s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l head-timeout -d 'Return 408 if the head of a request is incomplete after this time [default: 10s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l body-timeout -d 'Return 408 if the body of a request is incomplete after this time [default: 10s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l write-timeout -d 'Close a connection whose client reads no response for this long [default: 10s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l ledger-timeout -d 'Return `unknown` if the ledger has not answered after this time [default: 2s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -l waiting-max -d 'Maximum purchases per core waiting for the ledger [default: one per connection]' -r
complete -c stampede -n "__fish_stampede_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l config -d 'Read settings from this TOML file' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l listen -d 'Serve buyers on this address (repeatable) [default: 0.0.0.0:3005]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l tls-cert -d 'Present the certificate in this PEM file to TLS clients (repeatable, each with a --tls-key)' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l tls-key -d 'Private key of the certificate, a PEM file without a password (repeatable)' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l tls-ticket-keys -d 'Read the keys of TLS session tickets from this file [default: random keys]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l control -d 'Serve operators on this address, or `off` [default: 127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l control-token-file -d 'Require the token in this file from clients of the control port [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l read-token-file -d 'Accept the token in this file for read-only access to the control port [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l cores -d 'Run one worker on each of these processor cores, e.g. 0-3,6 [default: all allowed]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l connections-max -d 'Maximum connections [default: from the open file limit]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l connections-per-address -d 'Maximum connections per client address, or off [default: off]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l trusted-proxies -d 'Networks of the proxies in front of stampede, e.g. 10.0.0.0/8 [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l proxy-protocol -d 'Read the client address from the PROXY protocol of trusted proxies, or `off` [default: off]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l shop-token-file -d 'Accept the token in this file as the shop\'s back end, at both ports [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l cors-origins -d 'Let web pages of these origins read responses of the public port [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l public-confirm -d 'Let buyers confirm reservations at the public port, or `off` [default: off]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l forwarded-header -d 'Header in which trusted proxies report the client address [default: x-forwarded-for]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l admission-keys -d 'Require a token signed by a key in this file from buyers [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l admission-audience -d 'Require this `aud` in those tokens [default: stampede]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l rate-per-user -d 'Maximum purchases per second per user, or off [default: off]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l rate-per-address -d 'Maximum purchases per second per client address, or off [default: off]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l ledger -d 'Keep stock and reservations in this ledger [default: embedded:./stampede-data]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l redis-ca -d 'Trust the certificate authorities in this PEM file for rediss:// [default: the system\'s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l redis-cert -d 'Present the certificate in this PEM file to Redis, for rediss:// [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l redis-key -d 'Private key of --redis-cert, a PEM file without a password [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l redis-counters-key -d 'Redis key of the hash with a sale\'s counters [default: {sale}_hash_key]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l redis-total-field -d 'Field of the total in that hash [default: {sale}_total_nums]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l redis-sold-field -d 'Field of the units sold (held or confirmed) in that hash [default: {sale}_sold_nums]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l redis-wait -d 'Acknowledge a purchase only after this many replicas have received it [default: 0]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l redis-sentinel-user -d 'User name at the Sentinels of a redis-sentinel:// ledger [default: their default user]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l orders -d 'Write an order for each reservation to this database [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l webhook-state -d 'With --orders https://…: keep undelivered webhooks in this file [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l webhook-secret-file -d 'With --orders https://…: sign with the secrets in this file, one whsec_… per line [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l webhook-ca -d 'With --orders https://…: trust the authorities in this PEM file [default: the system\'s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l restored-ledger -d 'Sell from the restored embedded ledger with this id [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l sale -d 'Create this sale if it is missing (repeatable) [default: ticket=10000 if embedded]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l splits -d 'Split each new sale into this many parts, for several Redis nodes [default: 1]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l stock -d 'Sell at most this many units of each sale from this instance, or `auto` [default: auto]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l stock-buffer -d 'With --stock auto, allow this much more than the fair share [default: 50%]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l instance -d 'Name of this instance among those that share a ledger [default: host name and port]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l stat-log -d 'Append a line per purchase attempt to this file [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l log -d 'Log level of standard error [default: info]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l log-format -d 'Log format: text, json or journal [default: text, or journal under systemd]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l drain-delay -d 'On a signal to stop, keep serving for this long first [default: 0s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l drain-timeout -d 'On a signal to stop, finish open requests for at most this long [default: 30s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l idle-timeout -d 'Close a connection that sends no request for this long [default: 75s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l head-timeout -d 'Return 408 if the head of a request is incomplete after this time [default: 10s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l body-timeout -d 'Return 408 if the body of a request is incomplete after this time [default: 10s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l write-timeout -d 'Close a connection whose client reads no response for this long [default: 10s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l ledger-timeout -d 'Return `unknown` if the ledger has not answered after this time [default: 2s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -l waiting-max -d 'Maximum purchases per core waiting for the ledger [default: one per connection]' -r
complete -c stampede -n "__fish_stampede_using_subcommand check-config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand demo" -l listen -d 'Serve the page for buyers on this address [default: 127.0.0.1:3005]' -r
complete -c stampede -n "__fish_stampede_using_subcommand demo" -l control -d 'Serve the live page and the control port on this address [default: 127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand demo" -l opens-in -d 'Open the sale after this time [default: 20s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand demo" -l tickets -d 'Tickets for sale, one per buyer [default: 10000]' -r
complete -c stampede -n "__fish_stampede_using_subcommand demo" -l hold -d 'Hold a ticket for this time until it is paid for [default: 30s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand demo" -l buyers -d 'Buyers in the crowd [default: 30000]' -r
complete -c stampede -n "__fish_stampede_using_subcommand demo" -l over -d 'Time from the opening until the last buyer of the crowd has come [default: 30s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand demo" -l connections -d 'Connections that the buyers of the crowd share [default: 32]' -r
complete -c stampede -n "__fish_stampede_using_subcommand demo" -l keep -d 'Keep ledger and orders in this folder, which is new or empty [default: removed at the end]' -r
complete -c stampede -n "__fish_stampede_using_subcommand demo" -l log -d 'How much the server logs to standard error: error, warn, info, debug or off [default: error]' -r
complete -c stampede -n "__fish_stampede_using_subcommand demo" -l force-public -d 'Let --listen be an address that other machines reach'
complete -c stampede -n "__fish_stampede_using_subcommand demo" -l exit-when-over -d 'End when the sale is over, instead of serving until Ctrl-C'
complete -c stampede -n "__fish_stampede_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l from -d 'Read reservations from this Redis, the --ledger of the servers' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l to -d 'Write orders to this database, or send webhooks to this receiver' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l group -d 'Work in this consumer group [default: orders, or webhooks]' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l consumer -d 'Name of this worker in its group [default: HOST-PID]' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l batch -d 'Write about this many changes per transaction [default: 10000]' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l claim-after -d 'Take over entries that another worker has held for this long [default: 30s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l timeout -d 'Exit if Redis or the database is down for this long [default: wait for ever; 1m with --once]' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l state -d 'Keep undelivered webhooks in this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l webhook-secret-file -d 'Sign with the secrets in this file, one whsec_… per line' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l to-ca -d 'Trust the certificate authorities in this PEM file [default: the system\'s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l webhook-parallel -d 'Send this many webhooks at the same time [default: 16]' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l webhook-deadline -d 'Time limit of one attempt, from connecting to the response [default: 15s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l webhook-retry -d 'Pause after the first failed attempt [default: 5s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l webhook-attempts -d 'Attempts before a webhook becomes a dead letter [default: 15]' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l webhook-backlog -d 'Maximum webhooks in the file, dead letters included [default: 1000000]' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l replay -d 'Send a dead letter again, or all, and exit' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l discard -d 'Delete a dead letter, or all, and exit' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l drop-group -d 'Delete a consumer group that is no longer used, and exit' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l redis-ca -d 'Trust the certificate authorities in this PEM file for rediss:// [default: the system\'s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l redis-cert -d 'Present the certificate in this PEM file to Redis, for rediss:// [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l redis-key -d 'Private key of --redis-cert, a PEM file without a password [default: none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l redis-counters-key -d 'Redis key of the hash with a sale\'s counters, as for serve [default: {sale}_hash_key]' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l log -d 'Log level of standard error, as for serve [default: info]' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l log-format -d 'Log format: text, json or journal [default: text, or journal under systemd]' -r
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l once -d 'Exit when nothing is left to write or send'
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l plain-http -d 'Allow http:// receivers on other machines'
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l status -d 'Print the status of the webhook worker from its --state file, and exit'
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l dead-letters -d 'List the dead letters in the --state file, and exit'
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l json -d 'With --status, print one JSON object; with --dead-letters, one per line, with the webhook as sent'
complete -c stampede -n "__fish_stampede_using_subcommand orders" -l groups -d 'List the consumer groups and the progress of each, and exit'
complete -c stampede -n "__fish_stampede_using_subcommand orders" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -f -a "create" -d 'Create sales'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -f -a "open" -d 'Open a sale now, if it is closed or opens later'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -f -a "close" -d 'Close a sale now'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -f -a "add-stock" -d 'Add units to the total of a sale'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -f -a "take-stock" -d 'Take free units out of the total of a sale'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -f -a "change" -d 'Change the closing time, hold time and limits of a sale'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -f -a "show" -d 'Show a sale'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -f -a "list" -d 'List all sales'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -f -a "archive" -d 'Write a closed sale and its reservations to a file'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -f -a "restore" -d 'Restore a sale and its reservations from a file of `sale archive`'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -f -a "reset" -d 'Reset a sale: make all units free, as if the sale were new'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -f -a "remove" -d 'Remove a closed sale and its reservations'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and not __fish_seen_subcommand_from create open close add-stock take-stock change show list archive restore reset remove help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from create" -l splits -d 'Keep each sale without splits= in this many parts, in Redis, as --splits of serve does' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from create" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from create" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from create" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from create" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from create" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from create" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from open" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from open" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from open" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from open" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from open" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from open" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from open" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from close" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from close" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from close" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from close" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from close" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from close" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from close" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from add-stock" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from add-stock" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from add-stock" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from add-stock" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from add-stock" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from add-stock" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from add-stock" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from take-stock" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from take-stock" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from take-stock" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from take-stock" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from take-stock" -l at-most -d 'If fewer units are free, take all of them'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from take-stock" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from take-stock" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from take-stock" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from change" -l closes-at -d 'Closing time, as in 2030-01-01T10:00:00+08:00, or never' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from change" -l hold -d 'Hold time of new reservations, as in 30s or 5m' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from change" -l limit -d 'Maximum units per user; 0: no limit' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from change" -l quantity-max -d 'Maximum units per purchase' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from change" -l quantity-min -d 'Minimum units per purchase' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from change" -l extend -d 'Time in total by which the shop may extend a hold, as in 10m; 0: not at all' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from change" -l reservations -d 'Maximum reservations ever made, earlier ones included; 0: no maximum; default: end the sale after 1,000,000 returned reservations, or 100 per unit if that is more' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from change" -l reservations-per-user -d 'Maximum reservations ever made per user, earlier ones included; 0: no maximum' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from change" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from change" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from change" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from change" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from change" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from change" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from change" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from show" -l watch -d 'Refresh every INTERVAL until Ctrl-C, with units sold per second [default: 1s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from show" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from show" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from show" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from show" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from show" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from show" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from list" -l watch -d 'Refresh every INTERVAL until Ctrl-C, with units sold per second [default: 1s]' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from list" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from list" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from list" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from list" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from list" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from list" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from archive" -l to -d 'The file, which must not exist' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from archive" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from archive" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from archive" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from archive" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from archive" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from archive" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from archive" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from restore" -l from -d 'The archive' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from restore" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from restore" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from restore" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from restore" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from restore" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from restore" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from restore" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from reset" -l total -d 'New total [default: the current total]' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from reset" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from reset" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from reset" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from reset" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from reset" -l force -d 'Reset even if units are held or confirmed, or changes are not yet in the orders'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from reset" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from reset" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from reset" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from remove" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from remove" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from remove" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from remove" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from remove" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from remove" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from help" -f -a "create" -d 'Create sales'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from help" -f -a "open" -d 'Open a sale now, if it is closed or opens later'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from help" -f -a "close" -d 'Close a sale now'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from help" -f -a "add-stock" -d 'Add units to the total of a sale'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from help" -f -a "take-stock" -d 'Take free units out of the total of a sale'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from help" -f -a "change" -d 'Change the closing time, hold time and limits of a sale'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show a sale'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from help" -f -a "list" -d 'List all sales'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from help" -f -a "archive" -d 'Write a closed sale and its reservations to a file'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from help" -f -a "restore" -d 'Restore a sale and its reservations from a file of `sale archive`'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from help" -f -a "reset" -d 'Reset a sale: make all units free, as if the sale were new'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Remove a closed sale and its reservations'
complete -c stampede -n "__fish_stampede_using_subcommand sale; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and not __fish_seen_subcommand_from show confirm extend cancel refund help" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and not __fish_seen_subcommand_from show confirm extend cancel refund help" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and not __fish_seen_subcommand_from show confirm extend cancel refund help" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and not __fish_seen_subcommand_from show confirm extend cancel refund help" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and not __fish_seen_subcommand_from show confirm extend cancel refund help" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and not __fish_seen_subcommand_from show confirm extend cancel refund help" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and not __fish_seen_subcommand_from show confirm extend cancel refund help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and not __fish_seen_subcommand_from show confirm extend cancel refund help" -f -a "show" -d 'Show a reservation'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and not __fish_seen_subcommand_from show confirm extend cancel refund help" -f -a "confirm" -d 'Confirm a reservation, which marks it as paid'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and not __fish_seen_subcommand_from show confirm extend cancel refund help" -f -a "extend" -d 'Extend the hold of a reservation while its buyer pays'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and not __fish_seen_subcommand_from show confirm extend cancel refund help" -f -a "cancel" -d 'Cancel a held reservation: its units become free'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and not __fish_seen_subcommand_from show confirm extend cancel refund help" -f -a "refund" -d 'Refund a confirmed reservation: its units become free'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and not __fish_seen_subcommand_from show confirm extend cancel refund help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from show" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from show" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from show" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from show" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from show" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from show" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from confirm" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from confirm" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from confirm" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from confirm" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from confirm" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from confirm" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from confirm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from extend" -l hold -d 'New hold time from now, as in 30s or 5m [default: the hold time of the sale]' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from extend" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from extend" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from extend" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from extend" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from extend" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from extend" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from extend" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from cancel" -l remaining -d 'Cancel only a part: this many units remain' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from cancel" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from cancel" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from cancel" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from cancel" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from cancel" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from cancel" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from cancel" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from refund" -l remaining -d 'Refund only a part: this many units remain' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from refund" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from refund" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from refund" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from refund" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from refund" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from refund" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from refund" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show a reservation'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from help" -f -a "confirm" -d 'Confirm a reservation, which marks it as paid'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from help" -f -a "extend" -d 'Extend the hold of a reservation while its buyer pays'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from help" -f -a "cancel" -d 'Cancel a held reservation: its units become free'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from help" -f -a "refund" -d 'Refund a confirmed reservation: its units become free'
complete -c stampede -n "__fish_stampede_using_subcommand reservation; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c stampede -n "__fish_stampede_using_subcommand instances" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand instances" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand instances" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand instances" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand instances" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand instances" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand instances" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand audit" -l orders -d 'Compare the reservations with the orders in this database too' -r
complete -c stampede -n "__fish_stampede_using_subcommand audit" -l sale -d 'Audit only this sale (repeatable) [default: all]' -r
complete -c stampede -n "__fish_stampede_using_subcommand audit" -l timeout -d 'Give up after this time, such as 30s or 10m [default: 2m if a server is asked, else none]' -r
complete -c stampede -n "__fish_stampede_using_subcommand audit" -l control -d 'Send commands to the control port of this server [default: http://127.0.0.1:3006]' -r
complete -c stampede -n "__fish_stampede_using_subcommand audit" -l token-file -d 'Read the token of the control port from this file' -r
complete -c stampede -n "__fish_stampede_using_subcommand audit" -l ledger -d 'Open this ledger directly, without a server' -r
complete -c stampede -n "__fish_stampede_using_subcommand audit" -l config -d 'Configuration file for --ledger and --direct' -r
complete -c stampede -n "__fish_stampede_using_subcommand audit" -l repair -d 'Repair differences, but take no units from anybody who may have them'
complete -c stampede -n "__fish_stampede_using_subcommand audit" -l release-units -d 'With --repair: release units even if there are signs that somebody has them'
complete -c stampede -n "__fish_stampede_using_subcommand audit" -l quiet -d 'Print nothing if everything agrees, for cron'
complete -c stampede -n "__fish_stampede_using_subcommand audit" -l direct -d 'Open the ledger of the settings directly, without a server'
complete -c stampede -n "__fish_stampede_using_subcommand audit" -l json -d 'Print JSON, one object per line'
complete -c stampede -n "__fish_stampede_using_subcommand audit" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand backup" -l to -d 'Write the backup to this folder, which must not exist' -r
complete -c stampede -n "__fish_stampede_using_subcommand backup" -l ledger -d 'Back up this ledger, embedded:DIR; a server may use it [default: the ledger of the settings]' -r
complete -c stampede -n "__fish_stampede_using_subcommand backup" -l config -d 'Configuration file for the settings' -r
complete -c stampede -n "__fish_stampede_using_subcommand backup" -l json -d 'Print JSON'
complete -c stampede -n "__fish_stampede_using_subcommand backup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand restore" -l from -d 'Restore this backup, a folder written by `stampede backup`' -r
complete -c stampede -n "__fish_stampede_using_subcommand restore" -l ledger -d 'Restore to embedded:DIR, a missing or empty folder [default: the ledger of the settings]' -r
complete -c stampede -n "__fish_stampede_using_subcommand restore" -l config -d 'Configuration file for the settings' -r
complete -c stampede -n "__fish_stampede_using_subcommand restore" -l orders -d 'Compare the restored ledger with the orders in this database' -r
complete -c stampede -n "__fish_stampede_using_subcommand restore" -l json -d 'Print JSON'
complete -c stampede -n "__fish_stampede_using_subcommand restore" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand move" -l from -d 'Move sales from this ledger, embedded:DIR; no server may use it' -r
complete -c stampede -n "__fish_stampede_using_subcommand move" -l to -d 'Move sales to this ledger: redis://…, redis-sentinel://…, redis-cluster://… or rediss://…' -r
complete -c stampede -n "__fish_stampede_using_subcommand move" -l sale -d 'Move only this sale (repeatable) [default: all]' -r
complete -c stampede -n "__fish_stampede_using_subcommand move" -l config -d 'Configuration file for the settings of both ledgers (names of keys, certificates)' -r
complete -c stampede -n "__fish_stampede_using_subcommand move" -l abandon -d 'Cancel a move that was interrupted'
complete -c stampede -n "__fish_stampede_using_subcommand move" -l json -d 'Print JSON'
complete -c stampede -n "__fish_stampede_using_subcommand move" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand token; and not __fish_seen_subcommand_from new-key public-keys help" -l keys -d 'Sign with a key of this file, a JSON Web Key Set' -r
complete -c stampede -n "__fish_stampede_using_subcommand token; and not __fish_seen_subcommand_from new-key public-keys help" -l kid -d 'Sign with the key of this name [default: the last key that can sign]' -r
complete -c stampede -n "__fish_stampede_using_subcommand token; and not __fish_seen_subcommand_from new-key public-keys help" -l user -d 'Name of the user who may buy' -r
complete -c stampede -n "__fish_stampede_using_subcommand token; and not __fish_seen_subcommand_from new-key public-keys help" -l sale -d 'Allow purchases from this sale (repeatable)' -r
complete -c stampede -n "__fish_stampede_using_subcommand token; and not __fish_seen_subcommand_from new-key public-keys help" -l ttl -d 'Lifetime of the token from now: 1s to 1d' -r
complete -c stampede -n "__fish_stampede_using_subcommand token; and not __fish_seen_subcommand_from new-key public-keys help" -l max -d 'Maximum units per reservation [default: that of the sale]' -r
complete -c stampede -n "__fish_stampede_using_subcommand token; and not __fish_seen_subcommand_from new-key public-keys help" -l audience -d 'Audience of the token: the --admission-audience of the server' -r
complete -c stampede -n "__fish_stampede_using_subcommand token; and not __fish_seen_subcommand_from new-key public-keys help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand token; and not __fish_seen_subcommand_from new-key public-keys help" -f -a "new-key" -d 'Add a new key to a key file, and print the name of the key'
complete -c stampede -n "__fish_stampede_using_subcommand token; and not __fish_seen_subcommand_from new-key public-keys help" -f -a "public-keys" -d 'Print a key file for a server: without the private parts of EdDSA keys'
complete -c stampede -n "__fish_stampede_using_subcommand token; and not __fish_seen_subcommand_from new-key public-keys help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c stampede -n "__fish_stampede_using_subcommand token; and __fish_seen_subcommand_from new-key" -l keys -d 'The file: a JSON Web Key Set' -r
complete -c stampede -n "__fish_stampede_using_subcommand token; and __fish_seen_subcommand_from new-key" -l kid -d 'Name of the key [default: k- and 8 random hexadecimal digits]' -r
complete -c stampede -n "__fish_stampede_using_subcommand token; and __fish_seen_subcommand_from new-key" -l alg -d 'Algorithm: HS256, with a secret that shop and server share, or EdDSA, with a private key that only the shop has' -r
complete -c stampede -n "__fish_stampede_using_subcommand token; and __fish_seen_subcommand_from new-key" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand token; and __fish_seen_subcommand_from public-keys" -l keys -d 'The file: a JSON Web Key Set' -r
complete -c stampede -n "__fish_stampede_using_subcommand token; and __fish_seen_subcommand_from public-keys" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "new-key" -d 'Add a new key to a key file, and print the name of the key'
complete -c stampede -n "__fish_stampede_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "public-keys" -d 'Print a key file for a server: without the private parts of EdDSA keys'
complete -c stampede -n "__fish_stampede_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c stampede -n "__fish_stampede_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand man" -l to -d 'Write the pages to this folder, which is created if it is missing' -r
complete -c stampede -n "__fish_stampede_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c stampede -n "__fish_stampede_using_subcommand help; and not __fish_seen_subcommand_from serve check-config demo orders sale reservation instances audit backup restore move token completions man help" -f -a "serve" -d 'Run the server (the default: the word may be left out)'
complete -c stampede -n "__fish_stampede_using_subcommand help; and not __fish_seen_subcommand_from serve check-config demo orders sale reservation instances audit backup restore move token completions man help" -f -a "check-config" -d 'Check every setting, print them all with their sources, and exit'
complete -c stampede -n "__fish_stampede_using_subcommand help; and not __fish_seen_subcommand_from serve check-config demo orders sale reservation instances audit backup restore move token completions man help" -f -a "demo" -d 'Demonstrate stampede: a sale, a crowd, a live page and a page for buyers'
complete -c stampede -n "__fish_stampede_using_subcommand help; and not __fish_seen_subcommand_from serve check-config demo orders sale reservation instances audit backup restore move token completions man help" -f -a "orders" -d 'Write an order per reservation from Redis to a database, or send webhooks'
complete -c stampede -n "__fish_stampede_using_subcommand help; and not __fish_seen_subcommand_from serve check-config demo orders sale reservation instances audit backup restore move token completions man help" -f -a "sale" -d 'Create, open, close, change, show, list, archive and remove sales'
complete -c stampede -n "__fish_stampede_using_subcommand help; and not __fish_seen_subcommand_from serve check-config demo orders sale reservation instances audit backup restore move token completions man help" -f -a "reservation" -d 'Show, confirm, extend, cancel and refund reservations'
complete -c stampede -n "__fish_stampede_using_subcommand help; and not __fish_seen_subcommand_from serve check-config demo orders sale reservation instances audit backup restore move token completions man help" -f -a "instances" -d 'List the servers that share a ledger'
complete -c stampede -n "__fish_stampede_using_subcommand help; and not __fish_seen_subcommand_from serve check-config demo orders sale reservation instances audit backup restore move token completions man help" -f -a "audit" -d 'Compare counts, reservations, order stream and orders, and repair differences'
complete -c stampede -n "__fish_stampede_using_subcommand help; and not __fish_seen_subcommand_from serve check-config demo orders sale reservation instances audit backup restore move token completions man help" -f -a "backup" -d 'Back up an embedded ledger while a server sells from it'
complete -c stampede -n "__fish_stampede_using_subcommand help; and not __fish_seen_subcommand_from serve check-config demo orders sale reservation instances audit backup restore move token completions man help" -f -a "restore" -d 'Restore an embedded ledger from a backup'
complete -c stampede -n "__fish_stampede_using_subcommand help; and not __fish_seen_subcommand_from serve check-config demo orders sale reservation instances audit backup restore move token completions man help" -f -a "move" -d 'Move closed sales from an embedded ledger to Redis'
complete -c stampede -n "__fish_stampede_using_subcommand help; and not __fish_seen_subcommand_from serve check-config demo orders sale reservation instances audit backup restore move token completions man help" -f -a "token" -d 'Create a token that lets a user buy, or a key for tokens'
complete -c stampede -n "__fish_stampede_using_subcommand help; and not __fish_seen_subcommand_from serve check-config demo orders sale reservation instances audit backup restore move token completions man help" -f -a "completions" -d 'Print the completions of this command line for a shell'
complete -c stampede -n "__fish_stampede_using_subcommand help; and not __fish_seen_subcommand_from serve check-config demo orders sale reservation instances audit backup restore move token completions man help" -f -a "man" -d 'Write the man pages to a folder'
complete -c stampede -n "__fish_stampede_using_subcommand help; and not __fish_seen_subcommand_from serve check-config demo orders sale reservation instances audit backup restore move token completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from sale" -f -a "create" -d 'Create sales'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from sale" -f -a "open" -d 'Open a sale now, if it is closed or opens later'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from sale" -f -a "close" -d 'Close a sale now'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from sale" -f -a "add-stock" -d 'Add units to the total of a sale'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from sale" -f -a "take-stock" -d 'Take free units out of the total of a sale'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from sale" -f -a "change" -d 'Change the closing time, hold time and limits of a sale'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from sale" -f -a "show" -d 'Show a sale'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from sale" -f -a "list" -d 'List all sales'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from sale" -f -a "archive" -d 'Write a closed sale and its reservations to a file'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from sale" -f -a "restore" -d 'Restore a sale and its reservations from a file of `sale archive`'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from sale" -f -a "reset" -d 'Reset a sale: make all units free, as if the sale were new'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from sale" -f -a "remove" -d 'Remove a closed sale and its reservations'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from reservation" -f -a "show" -d 'Show a reservation'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from reservation" -f -a "confirm" -d 'Confirm a reservation, which marks it as paid'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from reservation" -f -a "extend" -d 'Extend the hold of a reservation while its buyer pays'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from reservation" -f -a "cancel" -d 'Cancel a held reservation: its units become free'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from reservation" -f -a "refund" -d 'Refund a confirmed reservation: its units become free'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "new-key" -d 'Add a new key to a key file, and print the name of the key'
complete -c stampede -n "__fish_stampede_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "public-keys" -d 'Print a key file for a server: without the private parts of EdDSA keys'
