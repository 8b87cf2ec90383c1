# The two evaluations of a configuration, as plainly as they can be written:
# to compare eval.bash with, of which this script shares nothing.
#
# usage: VARIABLE=... bash oracle.bash NAMES FILE...
# For each file, from the directory /, all elements of the variables NAMES are
# printed as NAME NUL INDEX NUL VALUE NUL, and a line feed and NUL at the end.

read -ra oracle_names <<<"$1"
shift
shopt -s extglob
cd /
oracle_tmp=$(mktemp -d)
trap 'rm -r "$oracle_tmp"' EXIT

first() {
    . "$1" </dev/null >/dev/null
    for oracle_name in "${oracle_names[@]}"; do
        eval "oracle_indexes=(\"\${!$oracle_name[@]}\")"
        for oracle_index in "${oracle_indexes[@]}"; do
            eval "oracle_value=\${$oracle_name[$oracle_index]}"
            oracle_line="$oracle_name[$oracle_index]=\"${oracle_value%$'\r'}\""
            echo $oracle_line >&9
        done
    done
}

second() {
    . "$oracle_tmp/values" </dev/null >/dev/null
    for oracle_name in "${oracle_names[@]}"; do
        eval "oracle_indexes=(\"\${!$oracle_name[@]}\")"
        for oracle_index in "${oracle_indexes[@]}"; do
            eval "oracle_value=\${$oracle_name[$oracle_index]}"
            printf '%s\0' "$oracle_name" "$oracle_index" "$oracle_value" >&8
        done
    done
}

for oracle_file; do
    (first "$oracle_file") 9>"$oracle_tmp/values" >/dev/null 2>/dev/null
    (second) 8>&1 >/dev/null 2>/dev/null
    printf '\n\0'
done
