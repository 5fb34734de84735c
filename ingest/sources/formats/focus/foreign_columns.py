"""Titles that bills of vendors without FOCUS give to its columns, in the languages they come in."""

# Asked only where a file has no FOCUS title for the column, the likeliest first. A title that could mean two things (Total,
# Price, Rate, Account) is in none of them: a person names it in the settings.
NAMES: dict[str, tuple[str, ...]] = {
    "billed_cost": (
        "Cost", "Billed Cost", "Cost Amount", "Amount", "Total Cost", "Net Cost", "Net Amount", "Charge Amount", "Charges",
        "Line Total", "Amount Due", "Spend", "Cost In Billing Currency", "PreTax Cost", "Unblended Cost", "computedAmount",
        "Cost (USD)", "Amount (USD)", "cost_usd", "amount_usd", "Usage Charges",
        "Kosten", "Betrag", "Nettobetrag", "Netto", "Coût", "Montant", "Montant HT", "Coste", "Importe", "Costo", "Importo",
        "Custo", "Valor", "Bedrag", "Koszt", "Kwota", "Kostnad", "Belopp", "料金", "金額", "費用", "费用", "金额", "비용", "금액",
    ),
    "charge_period_start": (
        "Usage Start Time", "Usage Start Date", "Usage Start", "Start Time", "Start Date", "Period Start", "Usage Date", "Date",
        "Day", "From", "Service Start", "Billing Date", "timeUsageStarted",
        "Datum", "Nutzungsdatum", "Startdatum", "Von", "Date de début", "Date d'utilisation", "Jour", "Début", "Fecha",
        "Fecha de inicio", "Data", "Data inizio", "Data de início", "Begindatum", "Data rozpoczęcia", "日付", "利用日", "開始日",
        "日期", "开始时间", "날짜",
    ),
    "charge_period_end": (
        "Usage End Time", "Usage End Date", "Usage End", "End Time", "End Date", "Period End", "To", "Service End",
        "timeUsageEnded", "Enddatum", "Bis", "Date de fin", "Fin", "Fecha de fin", "Data fine", "Data de término", "Einddatum",
        "終了日", "结束时间",
    ),
    "billing_currency": (
        "Currency", "Currency Code", "Billing Currency Code", "Währung", "Abrechnungswährung", "Devise", "Moneda", "Valuta",
        "Moeda", "Waluta", "通貨", "币种", "통화",
    ),
    "service_provider_name": ("Vendor", "Vendor Name", "Cloud Provider", "Cloud", "Anbieter", "Fournisseur", "Proveedor"),
    "invoice_issuer_name": ("Issuer", "Seller", "Seller Name", "Rechnungssteller"),
    "invoice_id": ("Invoice", "Invoice Number", "Invoice No", "Rechnungsnummer", "Numéro de facture", "Número de factura"),
    "service_name": (
        "Service", "Product", "Product Name", "Service Type", "Dienst", "Dienstname", "Produkt", "Produit", "Servicio",
        "Producto", "Servizio", "Prodotto", "Serviço", "Produto", "Usługa", "サービス", "产品", "服务", "서비스",
    ),
    "charge_description": (
        "Description", "Line Item", "Line Item Description", "Item", "Item Description", "Details", "Beschreibung", "Position",
        "Libellé", "Descripción", "Descrizione", "Descrição", "Omschrijving", "Opis", "明細", "説明", "描述", "설명",
    ),
    "sku_id": ("SKU", "Product Code", "Part Number", "Article", "Artikelnummer"),
    "sku_meter": ("Meter", "Meter Name", "Usage Type", "Model"),
    "resource_id": ("Resource", "Instance Id", "Project Id", "Ressource", "Recurso", "Risorsa"),
    "resource_name": ("Instance Name", "Server", "Hostname"),
    "region_id": ("Location", "Zone", "Data Center", "Datacenter", "Standort", "Région", "Región", "Regione", "リージョン"),
    "sub_account_id": ("Account Id", "Subscription Id", "Project", "Workspace", "Organization", "Projekt", "Projet", "Proyecto"),
    "sub_account_name": ("Account Name", "Subscription Name", "Project Name", "Workspace Name"),
    "consumed_quantity": (
        "Quantity", "Usage", "Usage Amount", "Consumption", "Units", "Menge", "Verbrauch", "Quantité", "Cantidad", "Quantità",
        "Quantidade", "Hoeveelheid", "Ilość", "使用量", "数量", "用量", "사용량",
    ),
    "consumed_unit": ("Unit", "Unit Of Measure", "UOM", "Einheit", "Unité", "Unidad", "Unità", "Unidade", "単位", "单位"),
    "tags": ("Labels", "Tag", "Etiketten", "Étiquettes", "Etiquetas", "Etichette"),
}  # fmt: skip
