// charts.mjs: what is on the page. A chart names the views it is drawn from, and is a
// Vega-Lite specification over their rows; the table beneath it has the same figures.
// Views: docs/crm-leads.md, docs/crm-analytics.md. Colors can be told apart by
// everyone (Okabe and Ito).

const colors = {
	black: '#000000', orange: '#e69f00', sky: '#56b4e9', green: '#009e73',
	yellow: '#f0e442', blue: '#0072b2', red: '#d55e00', purple: '#cc79a7', grey: '#999999',
};
const arrivals = {
	new: colors.sky, forward: colors.blue, demoted: colors.red, reengaged: colors.green,
	set_aside: colors.grey, restored: colors.yellow, imported: colors.purple,
};
const models = {
	first_touch: colors.sky, last_touch: colors.blue, linear: colors.grey,
	time_decay: colors.orange, position_based: colors.green,
};
const several = [colors.blue, colors.orange, colors.green, colors.red, colors.purple, colors.sky, colors.yellow, colors.grey];

const palette = (names) => ({domain: Object.keys(names), range: Object.values(names)});
// Codes are words with underscores.
const words = {labelExpr: "replace(datum.label, /_/g, ' ')"};
const nobody = [{calculate: "datum.agent_id === null ? 'nobody' : datum.agent_id", as: 'agent'}];

export const charts = [
	{
		id: 'board',
		title: 'The board',
		text: 'Leads by state, and how they got there. A column of demoted leads is not one of fresh ones.',
		data: {
			columns: {
				view: 'board_columns', order: 'display_order',
				columns: {
					state: 'State', lead_count: 'Leads', unassigned_count: 'Nobody’s', hot_count: 'Hot', restricted_count: 'Restricted',
					sla_breached_count: 'Contacted late', demoted_count: 'Demoted', reengaged_count: 'Re-engaged',
				},
			},
			arrivals: {
				view: 'pipeline_health', order: 'display_order, arrival_kind, agent_id, age_order',
				columns: {state: 'State', arrival_kind: 'How they got there', lead_count: 'Leads'},
			},
		},
		spec: ({columns}) => ({
			width: 930, height: 220,
			data: {name: 'arrivals'},
			encoding: {
				x: {field: 'state', type: 'nominal', title: null, axis: {labelAngle: 0, ...words}, scale: {domain: columns.map((row) => row.state)}},
			},
			layer: [
				{
					mark: {type: 'bar', tooltip: true},
					encoding: {
						y: {aggregate: 'sum', field: 'lead_count', type: 'quantitative', title: 'leads'},
						color: {field: 'arrival_kind', type: 'nominal', title: 'arrival', legend: words, scale: palette(arrivals)},
					},
				},
				{
					data: {name: 'columns'},
					mark: {type: 'text', dy: -7, fontWeight: 'bold'},
					encoding: {y: {field: 'lead_count', type: 'quantitative'}, text: {field: 'lead_count', type: 'quantitative'}},
				},
			],
		}),
	},
	{
		id: 'collapses',
		title: 'Why deals fell through',
		text: 'By agent, quarter and reason. The agent is who had the lead when it happened.',
		data: {
			collapses: {
				view: 'deal_collapses', order: 'agent_id, quarter_start, reason',
				columns: {
					agent_id: 'Agent', quarter: 'Quarter', reason_label: 'Reason', collapse_count: 'Collapses',
					before_contract_count: 'Before a contract', after_contract_count: 'After it',
				},
				missing: {agent_id: 'nobody'},
			},
		},
		spec: () => ({
			data: {name: 'collapses'},
			transform: nobody,
			facet: {field: 'agent', type: 'nominal', title: null, header: {labelFontWeight: 'bold'}},
			columns: 5,
			spec: {
				width: 138, height: 170,
				mark: {type: 'bar', tooltip: true},
				encoding: {
					x: {field: 'quarter', type: 'nominal', title: null, axis: {labelAngle: -45}},
					y: {aggregate: 'sum', field: 'collapse_count', type: 'quantitative', title: 'deals', axis: {tickMinStep: 1}},
					color: {field: 'reason_label', type: 'nominal', title: 'reason', scale: {range: several}},
				},
			},
		}),
	},
	{
		id: 'funnel',
		title: 'The funnel',
		text: 'Customers who reached each stage after the one before, with the share of those before.',
		data: {
			stages: {
				view: 'funnel_conversions', order: 'funnel_id, step_number',
				columns: {
					funnel_id: 'Funnel', step_number: 'Step', stage: 'Stage', customer_count: 'Customers', pct_conversion: 'Of the first',
					pct_of_previous: 'Of the one before', lost_count: 'Lost', median_hours_from_previous: 'Median hours',
				},
				format: {pct_conversion: 'percent', pct_of_previous: 'percent'},
			},
		},
		spec: ({stages}) => ({
			data: {name: 'stages'},
			transform: [{
				calculate: "datum.pct_of_previous === null ? format(datum.customer_count, ',') : format(datum.customer_count, ',') + '  (' + format(datum.pct_of_previous, '.0%') + ')'",
				as: 'told',
			}],
			vconcat: [...new Set(stages.map((row) => row.funnel_id))].map((funnel) => ({
				title: {text: funnel, anchor: 'start'},
				transform: [{filter: {field: 'funnel_id', equal: funnel}}],
				width: 860, height: {step: 30},
				encoding: {
					y: {field: 'stage', type: 'nominal', title: null, axis: {grid: false}, sort: {field: 'step_number', op: 'min'}},
					x: {
						field: 'customer_count', type: 'quantitative', title: 'customers', axis: {tickMinStep: 1},
						scale: stages.some((row) => row.customer_count > 0) ? {} : {domain: [0, 1]},
					},
				},
				layer: [
					{mark: {type: 'bar', color: colors.blue, tooltip: true}},
					{mark: {type: 'text', align: 'left', dx: 6}, encoding: {text: {field: 'told'}}},
				],
			})),
		}),
	},
	{
		id: 'attribution',
		title: 'What led to orders',
		text: 'Revenue by channel, as five models part it among the touches of the 30 days before an order.',
		data: {
			channels: {
				view: 'attribution_overview', where: "path_type = 'channel'", order: 'currency, touch_point, attribution_type',
				columns: {
					touch_point: 'Channel', attribution_type: 'Model', currency: 'Currency', attributed_revenue: 'Revenue',
					attributed_conversions: 'Orders, by parts', in_n_conversion_paths: 'Orders touched', touch_count: 'Touches',
				},
				format: {attributed_revenue: 'money', attributed_conversions: 'money'},
			},
		},
		spec: () => ({
			data: {name: 'channels'},
			facet: {row: {field: 'currency', type: 'nominal', title: null, header: {labelAngle: 0, labelFontWeight: 'bold'}}},
			resolve: {scale: {y: 'independent'}},
			spec: {
				width: 860, height: 150,
				mark: {type: 'bar', tooltip: true},
				encoding: {
					x: {field: 'touch_point', type: 'nominal', title: 'channel', axis: {title: null, labelAngle: 0}},
					xOffset: {field: 'attribution_type', title: 'model', scale: {domain: Object.keys(models)}},
					y: {field: 'attributed_revenue', type: 'quantitative', title: 'revenue'},
					color: {field: 'attribution_type', type: 'nominal', title: 'model', legend: words, scale: palette(models)},
				},
			},
		}),
	},
];
