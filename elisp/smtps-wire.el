;;; smtps-wire.el --- Print and read messages of the smtps helper  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; One s-expression a line, UTF-8, of a closed grammar that both ends check:
;; proper lists, strings, fixnums, t and nil, symbols and keywords of
;; [a-z][a-z0-9-]*.  A string escapes every control character, so that a line
;; is always one whole form.  There is one way only to write a value, but for
;; blanks between the parts of a list.
;;
;; Everything here is pure: no process, no buffer.  The printer is our own, so
;; that no `print-length' or its like can matter; `read' sees only what one
;; regexp has let through, since it hangs or crashes on some of the rest.

;;; Code:

(define-error 'smtps-error "Error in smtps")
(define-error 'smtps-rpc-error "The smtps helper" 'smtps-error)
(define-error 'smtps-wire-error "Message of the smtps helper" 'smtps-rpc-error)

(defconst smtps-wire-line-limit 65536
  "Octets of a line with its LF: what a pipe takes without making Emacs wait.")

(defconst smtps-wire-depth-limit 16
  "Lists within lists; beyond tens of thousands the Lisp reader itself breaks.")

(defconst smtps-wire--not-names '(nan inf infinity)
  "Symbols that can't be sent: the helper's reader takes them for numbers.")

(defun smtps-wire--refuse (format-string &rest arguments)
  "Signal `smtps-wire-error' with FORMAT-STRING applied to ARGUMENTS."
  (signal 'smtps-wire-error (list (apply #'format format-string arguments))))

;;;; Print

(defconst smtps-wire--special "[\"\\\0-\37\177-\u009f]"
  "A character that a string escapes.")

(defun smtps-wire--escape (character)
  "Return the escaped form of CHARACTER, a string of one."
  (pcase (aref character 0)
    (?\" "\\\"") (?\\ "\\\\") (?\n "\\n") (?\r "\\r")
    (?\t "\\t") (?\b "\\b") (?\f "\\f")
    (code (format "\\u%04x" code))))

(defun smtps-wire--string (string)
  "Return STRING as it stands on the wire, without its text properties."
  (when (string-match-p (if (multibyte-string-p string)
                            "[^\0-\ud7ff\ue000-\U0010ffff]"
                          "[^\0-\177]")
                        string)
    (smtps-wire--refuse "A string with raw bytes can't be sent"))
  (let ((text (substring-no-properties string)))
    (concat "\""
            (if (string-match-p smtps-wire--special text)
                (replace-regexp-in-string smtps-wire--special
                                          #'smtps-wire--escape text t t)
              text)
            "\"")))

(defun smtps-wire--symbol (symbol)
  "Return SYMBOL as it stands on the wire."
  (let ((name (symbol-name symbol)))
    (if (and (string-match-p "\\`:?[a-z][a-z0-9-]*\\'" name)
             (not (memq symbol smtps-wire--not-names)))
        name
      ;; Not the name: it may be a secret read from somewhere.
      (smtps-wire--refuse "A symbol of this name can't be sent"))))

(defun smtps-wire--print (value depth)
  "Return VALUE, in DEPTH lists, as it stands on the wire."
  (cond
   ((symbolp value) (smtps-wire--symbol value))
   ((stringp value) (smtps-wire--string value))
   ((fixnump value) (number-to-string value))
   ((not (proper-list-p value))
    (smtps-wire--refuse "A value of the type %s can't be sent" (type-of value)))
   ((>= depth smtps-wire-depth-limit)
    (smtps-wire--refuse "Lists are nested too deeply to be sent"))
   (t (concat "("
              (mapconcat (lambda (inner) (smtps-wire--print inner (1+ depth)))
                         value " ")
              ")"))))

(defun smtps-wire-print (value)
  "Return VALUE as the text of one line, without LF.
Signal `smtps-wire-error' for what is outside the grammar or too long."
  (let* ((case-fold-search nil)
         (text (smtps-wire--print value 0))
         (octets (1+ (string-bytes text))))
    (when (> octets smtps-wire-line-limit)
      (smtps-wire--refuse "A message of %d octets is over the limit of %d"
                          octets smtps-wire-line-limit))
    text))

(defun smtps-wire-encode (value)
  "Return VALUE as the octets of one line, without LF.
Signal `smtps-wire-error' as `smtps-wire-print' does."
  (encode-coding-string (smtps-wire-print value) 'utf-8-unix t))

;;;; Read

(defconst smtps-wire--token
  ;; Raw bytes are a range of their own: one from a character to a raw byte is
  ;; empty.
  (let ((plain (concat "[^\"\\\0-\37\177-\u009f\ud800-\udfff"
                       "\x110000-\x3fff7f\x3fff80-\x3fffff]*")))
    (concat " +\\|\\((\\)\\|\\()\\)\\|"
            "\\("
            "\"" plain
            "\\(?:\\\\\\(?:[\"\\nrtbf]"
            "\\|u00\\(?:0[0-7bef]\\|1[0-9a-f]\\|7f\\|[89][0-9a-f]\\)\\)" plain "\\)*\""
            "\\|:?[a-z][a-z0-9-]*"
            "\\|0\\|-?[1-9][0-9]*"
            "\\)"))
  "One token; group 1 opens a list, 2 closes one, 3 is an atom.")

(defun smtps-wire--check (text)
  "Signal `smtps-wire-error' unless TEXT is one form of the grammar."
  (let ((position 0) (depth 0) (forms 0)
        (end (length text)))
    (while (< position end)
      (unless (eq (string-match smtps-wire--token text position) position)
        (smtps-wire--refuse "A message is outside the grammar at character %d"
                            position))
      (setq position (match-end 0))
      (cond
       ((match-beginning 1)
        (when (= depth 0) (setq forms (1+ forms)))
        (setq depth (1+ depth)))
       ((match-beginning 2)
        (setq depth (1- depth)))
       ((match-beginning 3)
        (when (= depth 0) (setq forms (1+ forms)))
        (unless (or (= position end) (memq (aref text position) '(?\s ?\( ?\))))
          (smtps-wire--refuse "A message is outside the grammar at character %d"
                              position))))
      (when (or (< depth 0) (> depth smtps-wire-depth-limit) (> forms 1))
        (smtps-wire--refuse "A message is not one form, or is nested too deeply")))
    (unless (and (= depth 0) (= forms 1))
      (smtps-wire--refuse "A message is not one whole form"))))

(defun smtps-wire--check-atoms (value)
  "Signal `smtps-wire-error' if VALUE has an atom that the regexp can't refuse."
  (cond
   ((consp value)
    ;; Along a list by a loop: it may have thousands of elements.
    (while value
      (smtps-wire--check-atoms (pop value))))
   ((memq value smtps-wire--not-names)
    (smtps-wire--refuse "A message has a symbol that is none"))
   ((and (integerp value) (not (fixnump value)))
    (smtps-wire--refuse "A number is beyond Emacs's integers"))))

(defun smtps-wire-read (string)
  "Return the one value in STRING.
Signal `smtps-wire-error' for anything outside the grammar."
  (let ((case-fold-search nil))
    (when (>= (string-bytes string) smtps-wire-line-limit)
      (smtps-wire--refuse "A message is over the limit of %d octets"
                          smtps-wire-line-limit))
    (save-match-data (smtps-wire--check string))
    (let ((value (condition-case nil
                     (car (read-from-string string))
                   (error (smtps-wire--refuse "A message can't be read")))))
      (smtps-wire--check-atoms value)
      value)))

(defun smtps-wire-decode (octets)
  "Return OCTETS, a line of the stream, as text for `smtps-wire-read'.
Octets that are not UTF-8 become characters that it refuses."
  (decode-coding-string octets 'utf-8-unix t))

;;;; Lines

(defun smtps-wire-split (rest octets)
  "Cut OCTETS, the next of a stream, into lines; return (LINES . NEXT-REST).
REST is NEXT-REST of the call before, nil at first.  LINES are without
LF; the symbol `too-long' stands for a line over the limit, of which
nothing is kept."
  ;; The rest is (LENGTH . PIECES), last first, since to append each piece to a
  ;; string takes long for many; or `drop' until the LF of a line too long.
  (let ((lines nil) (start 0) (found t))
    (while found
      (setq found (string-search "\n" octets start))
      (unless (eq rest 'drop)
        (let ((piece (substring octets start found))
              (before (or (car rest) 0)))
          (setq rest (cons (+ before (length piece)) (cons piece (cdr rest))))
          (when (>= (car rest) smtps-wire-line-limit)
            (push 'too-long lines)
            (setq rest 'drop))))
      (when found
        (unless (eq rest 'drop)
          ;; Most lines are of one piece: no copy is made of that.
          (push (if (cddr rest) (apply #'concat (reverse (cdr rest))) (cadr rest))
                lines))
        (setq rest nil
              start (1+ found))))
    (cons (nreverse lines) rest)))

(provide 'smtps-wire)
;;; smtps-wire.el ends here
