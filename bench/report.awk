# report.awk: from lines "label, unit, budget, side, value" to a Markdown table.
# The ratio is the median of the rounds' ratios, with the lowest and the highest:
# neighbours in time are compared, so that a slow minute does not count.

BEGIN {
	FS = "\t"
	print "| work | plain | eventsource | ratio | budget | met? |"
	print "|---|--:|--:|--:|--:|---|"
}

!($1 in unit) {
	label[++rows] = $1
	unit[$1] = $2
	budget[$1] = $3
}

{ value[$1, $4, ++count[$1, $4]] = $5 }

# Sorts list[1..n] and gives its median.
function median(list, n,    i, j, x) {
	for (i = 2; i <= n; i++) {
		x = list[i]
		for (j = i - 1; j > 0 && list[j] > x; j--)
			list[j + 1] = list[j]
		list[j + 1] = x
	}
	return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

function of_side(row, side,    i, list) {
	for (i = 1; i <= count[row, side]; i++)
		list[i] = value[row, side, i]
	return median(list, count[row, side])
}

# Thousands apart.
function number(x,    s, out) {
	if (x < 100)
		return sprintf("%.1f", x)
	s = sprintf("%.0f", x)
	for (out = ""; length(s) > 3; s = substr(s, 1, length(s) - 3))
		out = "," substr(s, length(s) - 2) out
	return s out
}

END {
	for (r = 1; r <= rows; r++) {
		row = label[r]
		n = count[row, "eventsource"]
		for (i = 1; i <= n; i++)
			ratios[i] = value[row, "eventsource", i] / value[row, "plain", i]
		ratio = median(ratios, n)
		split(budget[row], b, " ")
		met = b[1] == ">=" ? ratio >= b[2] : ratio <= b[2]
		verdict = b[1] == "" ? "" : met ? "yes" : "**no**"
		printf "| %s | %s %s | %s %s | %.2f (%.2f to %.2f) | %s | %s |\n", row,
			number(of_side(row, "plain")), unit[row], number(of_side(row, "eventsource")), unit[row],
			ratio, ratios[1], ratios[n], budget[row], verdict
	}
}
