# Evaluates configuration files for pkg/conf (shell.go speaks to it).
#
# Descriptor 0 brings requests, each a row of fields that end in NUL; 1 takes
# one line for each request that is answered; 2 takes complaints; 3 is the text
# to evaluate and 4 takes the values as rows of NAME, INDEX, VALUE, each ended
# by NUL. The names that count are in __dkms_names.
#
# A configuration shares its shell with these functions. Whatever is read runs
# in a subshell of a subshell, so it spoils at most itself.

builtin shopt -s extglob
# An endless configuration must neither fill the memory nor outlive its reader.
builtin ulimit -f 4096 2>/dev/null
builtin ulimit -d 2097152 2>/dev/null
builtin ulimit -t 120 2>/dev/null
builtin ulimit -c 0 2>/dev/null
# Low descriptors belong to the configurations: "exec 3<file" is common.
exec 100<&3 101>&4 3<&- 4>&-

# __dkms_dump writes all elements of all names; with "cut" in the way that the
# first evaluation passes them on: without one trailing carriage return, split
# into words, with file names expanded, and joined by single blanks. The mark
# keeps the first and the last word from being file names.
__dkms_dump() {
    builtin local __dkms_name __dkms_index __dkms_value __dkms_words __dkms_mark=/dev/null/
    for __dkms_name in "${__dkms_names[@]}"; do
        builtin eval "for __dkms_index in \"\${!$__dkms_name[@]}\"; do
            __dkms_value=\${$__dkms_name[\$__dkms_index]}
            __dkms_emit \"\$1\"
        done"
    done
    if [[ $1 == cut ]]; then
        # To look for names bash compares each variable with each. Those of the kernel's
        # configuration, which some files read, are thousands.
        if [[ -v CONFIG_MODULES && -r $kernel_source_dir/.config ]]; then
            builtin mapfile -t __dkms_words <"$kernel_source_dir/.config"
            builtin unset -v "${__dkms_words[@]%%=*}" 2>/dev/null
        fi
        for __dkms_name in "${!DKMS_DIRECTIVE@}"; do
            builtin printf '%s\0' DKMS_DIRECTIVE 0 "${!__dkms_name}" >&101
        done
    fi
    builtin printf '\0\0\0' >&101
}

__dkms_emit() {
    if [[ $1 == cut ]]; then
        __dkms_value=${__dkms_value%$'\r'}
        __dkms_words=()
        __dkms_words=($__dkms_mark$__dkms_value$__dkms_mark)
        builtin printf -v __dkms_value '%s ' "${__dkms_words[@]}"
        __dkms_value=${__dkms_value#"$__dkms_mark"}
        __dkms_value=${__dkms_value%"$__dkms_mark "}
    fi
    builtin printf '%s\0' "$__dkms_name" "$__dkms_index" "$__dkms_value" >&101
}

# __dkms_read is the first evaluation of a file. Values are written by the
# function that sources, for "declare" in a file makes variables local to it.
__dkms_read() {
    builtin local __dkms_file=$1
    # Only the text's own path makes BASH_SOURCE right; the copy is for files
    # in directories that are closed to an unprivileged reader.
    [[ -f $__dkms_file && -r $__dkms_file ]] || __dkms_file=/proc/self/fd/100
    builtin set --
    builtin source "$__dkms_file"
    builtin set +eu
    __dkms_dump cut
}

# __dkms_query serves the requests about one configuration.
__dkms_query() {
    builtin local __dkms_op __dkms_path __dkms_text
    while IFS= builtin read -r -d '' __dkms_op && IFS= builtin read -r -d '' __dkms_path; do
        case $__dkms_op in
        read)
            (__dkms_read "$__dkms_path") </dev/null >/dev/null
            builtin echo ok
            ;;
        assign) # the second evaluation, or variables to begin with
            if [[ -r /proc/self/fd/100 ]]; then
                builtin source /proc/self/fd/100 </dev/null >/dev/null
            else # no /proc
                IFS= builtin read -r -d '' -u 100 __dkms_text
                builtin eval "$__dkms_text" </dev/null >/dev/null
            fi
            __dkms_dump </dev/null >/dev/null
            builtin echo ok
            ;;
        end)
            builtin exit 0
            ;;
        esac
    done
}

__dkms_serve() {
    builtin local __dkms_op
    builtin unset MAPFILE
    builtin echo ready
    while IFS= builtin read -r -d '' __dkms_op; do
        (__dkms_query)
        builtin echo end
    done
}

builtin readonly -f __dkms_dump __dkms_emit __dkms_read __dkms_query __dkms_serve
